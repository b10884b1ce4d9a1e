_base_ = 'resnet20_cifar100.py'

model = dict(student=dict(backbone=dict(depth=56)))
