_base_ = [
    '../_base_/pairs/wrn_40_2_shufflenet_v1_cifar100.py',
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
optim_wrapper = dict(optimizer=dict(lr=0.01))
