_base_ = '../_base_/pairs/faster_rcnn_r101_r50.py'

model = dict(
    losses=dict(review=dict(type='ReviewKDLoss', student='neck', teacher='neck', loss_weight=0.5))
)
