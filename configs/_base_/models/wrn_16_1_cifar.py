_base_ = 'wrn_16_2_cifar.py'

model = dict(backbone=dict(depth=16, widen_factor=1), head=dict(in_channels=64))
