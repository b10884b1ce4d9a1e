_base_ = '../_base_/exits/wrn_16_4_cifar100.py'

model = dict(objective=dict(type='mmkd.BEEDLoss'))
