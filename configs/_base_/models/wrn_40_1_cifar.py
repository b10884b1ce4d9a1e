_base_ = 'wrn_16_1_cifar.py'

model = dict(backbone=dict(depth=40))
