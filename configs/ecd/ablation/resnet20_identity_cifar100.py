# Table 6, direct connections.
_base_ = '../resnet20_cifar100.py'

model = dict(connections=dict(transform=None))
