_base_ = '../_base_/exits/resnet34_cifar100.py'

model = dict(objective=dict(type='mmkd.BEEDLoss'))
