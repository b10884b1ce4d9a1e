_base_ = [
    '../_base_/pairs/resnet32x4_shufflenet_v2_cifar100.py',
    '../_base_/methods/fitnet_cifar100.py',
]

model = dict(
    losses=dict(hint=dict(_base_.term, student='backbone.layer2', teacher='backbone.layer2'))
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
