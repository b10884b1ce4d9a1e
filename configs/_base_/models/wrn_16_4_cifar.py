_base_ = 'wrn_16_2_cifar.py'

model = dict(backbone=dict(widen_factor=4), head=dict(in_channels=256))
