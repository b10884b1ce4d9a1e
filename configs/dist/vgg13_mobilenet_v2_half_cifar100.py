_base_ = [
    '../_base_/pairs/vgg13_mobilenet_v2_half_cifar100.py',
    '../_base_/methods/dist_cifar100.py',
]

model = dict(losses=dict(dist=_base_.term))
optim_wrapper = dict(optimizer=dict(lr=0.01))
