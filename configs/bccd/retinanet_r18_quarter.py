_base_ = './retinanet_r18.py'

# A quarter of the backbone's width.
model = dict(
    backbone=dict(stem_channels=16, base_channels=16), neck=dict(in_channels=[16, 32, 64, 128])
)
