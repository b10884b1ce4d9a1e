_base_ = [
    '../_base_/pairs/resnet50_mobilenet_v2_half_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        cc=dict(
            type='CorrelationCongruenceLoss',
            student='head.fc:input',
            teacher='head.fc:input',
            loss_weight=0.02,
        )
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
