_base_ = [
    '../_base_/pairs/resnet50_vgg8_cifar100.py',
    '../_base_/methods/dkd_cifar100.py',
]

model = dict(losses=dict(dkd=_base_.term))
