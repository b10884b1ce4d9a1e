_base_ = '../_base_/exits/efficientnet_b0_cifar100.py'

model = dict(objective=dict(type='mmkd.ExitCELoss'))
