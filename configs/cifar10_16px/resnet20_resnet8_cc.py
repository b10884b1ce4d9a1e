_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

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
