_base_ = ['../_base_/pairs/retinanet_x101_r50_2x.py', '../_base_/methods/pkd_coco.py']

model = dict(losses=dict(pkd=_base_.term))
