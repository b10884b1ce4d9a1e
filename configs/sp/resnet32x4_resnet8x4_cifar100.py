_base_ = [
    '../_base_/pairs/resnet32x4_resnet8x4_cifar100.py',
    '../_base_/methods/sp_cifar100.py',
]

model = dict(
    losses=dict(sp=dict(_base_.term, student='backbone.layer3', teacher='backbone.layer3'))
)
