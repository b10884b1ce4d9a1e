_base_ = [
    '../_base_/pairs/resnet110_resnet20_cifar100.py',
    '../_base_/methods/pkt_cifar100.py',
]

model = dict(losses=dict(pkt=_base_.term))
