_base_ = [
    '../_base_/pairs/resnet110_resnet32_cifar100.py',
    '../_base_/methods/fitnet_cifar100.py',
]

model = dict(
    losses=dict(hint=dict(_base_.term, student='backbone.layer2', teacher='backbone.layer2'))
)
