_base_ = [
    '../_base_/pairs/resnet110_resnet32_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        pkt=dict(
            type='PKTLoss', student='head.fc:input', teacher='head.fc:input', loss_weight=30000.0
        )
    ),
)
