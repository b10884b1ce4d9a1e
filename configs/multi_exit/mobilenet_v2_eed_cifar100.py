_base_ = '../_base_/exits/mobilenet_v2_cifar100.py'

model = dict(objective=dict(type='mmkd.BEEDLoss', balance=1.0))
