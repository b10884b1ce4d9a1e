_base_ = 'wrn_16_2_cifar.py'

model = dict(backbone=dict(depth=28, widen_factor=4), head=dict(in_channels=256))
