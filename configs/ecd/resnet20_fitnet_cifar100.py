# Table 14, ECD + FitNet from a frozen ResNet-56.
_base_ = 'resnet20_cifar100.py'

model = dict(
    teachers=dict(
        resnet56=dict(
            config='{{ fileDirname }}/../baseline/resnet56_cifar100.py',
            checkpoint='work_dirs/resnet56_cifar100/epoch_240.pth',
        )
    ),
    losses=dict(
        fitnet=dict(
            type='HintLoss',
            student='backbone.layer2',
            teacher='resnet56:backbone.layer2',
            regressor=None,
            loss_weight=0.1,
        )
    ),
)
