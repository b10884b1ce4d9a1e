_base_ = './gfl_r101_r50.py'

model = dict(
    student=dict(
        backbone=dict(depth=18, init_cfg=dict(checkpoint='torchvision://resnet18')),
        neck=dict(in_channels=[64, 128, 256, 512]),
    )
)
