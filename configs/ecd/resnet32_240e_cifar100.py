_base_ = 'resnet20_240e_cifar100.py'

model = dict(student=dict(backbone=dict(depth=32)))
