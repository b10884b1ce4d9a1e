_base_ = 'wrn_16_2_cifar.py'

model = dict(backbone=dict(widen_factor=1), head=dict(in_channels=64))
