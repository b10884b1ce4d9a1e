_base_ = [
    '../_base_/pairs/resnet32x4_resnet8x4_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        dkd=dict(
            type='DKDLoss',
            student='head.fc',
            teacher='head.fc',
            alpha=1.0,
            beta=8.0,
            tau=4.0,
            warmup=20,
        )
    ),
)
