_base_ = [
    '../_base_/pairs/resnet32x4_resnet8x4_cifar100.py',
    '../_base_/methods/crd_cifar100.py',
]

model = dict(losses=dict(crd=_base_.term))
