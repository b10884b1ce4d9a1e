_base_ = [
    '../_base_/pairs/vgg13_mobilenet_v2_half_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        rkd=dict(type='RKDLoss', student='head.fc:input', teacher='head.fc:input', loss_weight=1.0)
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
