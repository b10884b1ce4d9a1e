_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_40_1_cifar100.py',
    '../_base_/methods/dist_cifar100.py',
]

model = dict(losses=dict(dist=_base_.term))
