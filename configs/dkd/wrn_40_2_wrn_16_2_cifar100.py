_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_16_2_cifar100.py',
    '../_base_/methods/dkd_cifar100.py',
]

model = dict(losses=dict(dkd=dict(_base_.term, beta=6.0)))
