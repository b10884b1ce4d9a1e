_base_ = [
    '../_base_/pairs/bccd_faster_rcnn_r50_r18.py',
    '../_base_/methods/cwd_coco.py',
]

model = dict(losses=dict(cwd=_base_.term))
