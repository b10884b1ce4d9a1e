_base_ = [
    '../_base_/pairs/bccd_faster_rcnn_r50_r18.py',
    '../_base_/methods/pkd_coco.py',
]

model = dict(losses=dict(pkd=dict(_base_.term, loss_weight=6.0)))
