_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

model = dict(
    losses=dict(
        hint=dict(
            type='HintLoss',
            student='backbone.layer2',
            teacher='backbone.layer2',
            regressor='conv_bn_relu',
            loss_weight=100.0,
        )
    ),
)
