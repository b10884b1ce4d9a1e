_base_ = ['../_base_/pairs/faster_rcnn_r101_r50_1x.py', '../_base_/methods/cwd_coco.py']

model = dict(losses=dict(cwd=_base_.term))
