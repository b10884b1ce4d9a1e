_base_ = [
    '../_base_/pairs/resnet110_resnet32_cifar100.py',
    '../_base_/methods/dist_cifar100.py',
]

model = dict(losses=dict(dist=_base_.term))
