_base_ = '../_base_/pairs/bccd_faster_rcnn_r50_r18.py'

model = dict(
    losses=dict(review=dict(type='ReviewKDLoss', student='neck', teacher='neck', loss_weight=0.5))
)
