_base_ = [
    '../_base_/pairs/vgg13_mobilenet_v2_half_cifar100.py',
    '../_base_/methods/sp_cifar100.py',
]

model = dict(
    losses=dict(sp=dict(_base_.term, student='backbone.layer7', teacher='backbone.layer5'))
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
