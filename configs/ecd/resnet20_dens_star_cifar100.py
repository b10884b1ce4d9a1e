_base_ = 'resnet20_star_cifar100.py'

model = dict(connections=dict(dense=True))
