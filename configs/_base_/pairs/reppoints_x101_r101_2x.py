_base_ = './reppoints_x101_r50_2x.py'

model = dict(
    student=dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))
)
