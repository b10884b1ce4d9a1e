_base_ = './rtmdet_teacher.py'

# A quarter of the backbone's width.
model = dict(
    backbone=dict(deepen_factor=0.167, widen_factor=0.125), neck=dict(in_channels=[32, 64, 128])
)
