_base_ = '../_base_/exits/resnet18_tofd_exits_cifar100.py'

model = dict(objective=dict(type='mmkd.BEEDLoss'))
