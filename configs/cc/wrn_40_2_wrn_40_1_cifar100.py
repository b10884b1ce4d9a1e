_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_40_1_cifar100.py',
    '../_base_/methods/cc_cifar100.py',
]

model = dict(losses=dict(cc=_base_.term))
