_base_ = ['../_base_/pairs/fcos_x101_retinanet_r50_1x.py', '../_base_/methods/pkd_coco.py']

model = dict(losses=dict(pkd=_base_.term))
