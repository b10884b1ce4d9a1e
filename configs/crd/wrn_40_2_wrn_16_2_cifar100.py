_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_16_2_cifar100.py',
    '../_base_/methods/crd_cifar100.py',
]

model = dict(losses=dict(crd=_base_.term))
