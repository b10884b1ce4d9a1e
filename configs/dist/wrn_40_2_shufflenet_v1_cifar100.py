_base_ = [
    '../_base_/pairs/wrn_40_2_shufflenet_v1_cifar100.py',
    '../_base_/methods/dist_cifar100.py',
]

model = dict(losses=dict(dist=_base_.term))
optim_wrapper = dict(optimizer=dict(lr=0.01))
