_base_ = [
    '../_base_/pairs/vgg13_mobilenet_v2_half_cifar100.py',
    '../_base_/methods/fitnet_cifar100.py',
]

model = dict(
    losses=dict(hint=dict(_base_.term, student='backbone.layer3', teacher='backbone.layer3'))
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
