_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

model = dict(
    losses=dict(
        dist=dict(type='DISTLoss', student='head.fc', teacher='head.fc', tau=4.0, loss_weight=2.0)
    ),
)
