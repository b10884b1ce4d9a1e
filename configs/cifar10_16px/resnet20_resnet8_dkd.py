_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

model = dict(
    losses=dict(
        dkd=dict(
            type='DKDLoss',
            student='head.fc',
            teacher='head.fc',
            alpha=1.0,
            beta=2.0,
            tau=4.0,
            warmup=65,
            by_epoch=False,
        )
    ),
)
