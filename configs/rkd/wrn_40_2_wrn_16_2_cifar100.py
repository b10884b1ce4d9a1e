_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_16_2_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        rkd=dict(type='RKDLoss', student='head.fc:input', teacher='head.fc:input', loss_weight=1.0)
    ),
)
