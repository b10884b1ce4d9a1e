_base_ = [
    '../_base_/pairs/resnet110_resnet20_cifar100.py',
    '../_base_/methods/ft_cifar100.py',
]

model = dict(
    losses=dict(ft=dict(_base_.term, student='backbone.layer3', teacher='backbone.layer3'))
)
