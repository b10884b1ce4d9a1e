_base_ = 'wrn_16_4_cifar.py'

model = dict(backbone=dict(depth=28))
