_base_ = 'resnet20_dens_cifar100.py'

model = dict(student=dict(backbone=dict(depth=32)))
