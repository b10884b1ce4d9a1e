_base_ = 'wrn_40_2_cifar100.py'

model = dict(student=dict(backbone=dict(depth=16)))
