_base_ = [
    '../_base_/pairs/vgg13_vgg8_cifar100.py',
    '../_base_/methods/sp_cifar100.py',
]

model = dict(
    losses=dict(sp=dict(_base_.term, student='backbone.layer5', teacher='backbone.layer5'))
)
