_base_ = [
    '../_base_/pairs/resnet50_vgg8_cifar100.py',
    '../_base_/methods/dist_cifar100.py',
]

model = dict(losses=dict(dist=_base_.term))
