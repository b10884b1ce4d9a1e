_base_ = '../_base_/exits/msdnet_cifar100.py'

model = dict(objective=dict(type='mmkd.BEEDLoss'))
