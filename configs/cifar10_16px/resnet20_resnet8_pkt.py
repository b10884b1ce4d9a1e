_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

model = dict(
    losses=dict(
        pkt=dict(
            type='PKTLoss', student='head.fc:input', teacher='head.fc:input', loss_weight=30000.0
        )
    ),
)
