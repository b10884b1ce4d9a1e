_base_ = 'resnet20_star_cifar100.py'

model = dict(student=dict(backbone=dict(depth=56)))
