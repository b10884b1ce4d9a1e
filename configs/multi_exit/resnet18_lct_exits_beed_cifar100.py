_base_ = '../_base_/exits/resnet18_lct_exits_cifar100.py'

model = dict(objective=dict(type='mmkd.BEEDLoss'))
