_base_ = [
    '../_base_/pairs/resnet110_resnet32_cifar100.py',
    '../_base_/methods/crd_cifar100.py',
]

model = dict(losses=dict(crd=_base_.term))
