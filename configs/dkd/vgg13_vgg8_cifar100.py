_base_ = [
    '../_base_/pairs/vgg13_vgg8_cifar100.py',
    '../_base_/methods/dkd_cifar100.py',
]

model = dict(losses=dict(dkd=dict(_base_.term, beta=6.0)))
