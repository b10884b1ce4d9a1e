_base_ = ['../_base_/pairs/faster_rcnn_r101_r50_2x.py', '../_base_/methods/pkd_coco.py']

model = dict(losses=dict(pkd=dict(_base_.term, loss_weight=6.0)))
