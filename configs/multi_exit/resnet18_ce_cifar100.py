_base_ = '../_base_/exits/resnet18_cifar100.py'

model = dict(objective=dict(type='mmkd.ExitCELoss'))
