# Explicit Connection Distillation, Table 10: half the channels of ResNet-50 in every stage. The
# table prints 2048 for the output of conv5_x, which is not half; 1024 is.
_base_ = 'resnet50.py'

model = dict(backbone=dict(base_channels=32), head=dict(in_channels=1024))
