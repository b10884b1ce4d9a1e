# Table 14, ECD + KD from a frozen ResNet-56.
_base_ = 'resnet20_cifar100.py'

model = dict(
    teachers=dict(
        resnet56=dict(
            config='{{ fileDirname }}/../baseline/resnet56_cifar100.py',
            checkpoint='work_dirs/resnet56_cifar100/epoch_240.pth',
        )
    ),
    losses=dict(
        kd=dict(
            type='KLDivergenceLoss',
            student='head.fc',
            teacher='resnet56:head.fc',
            tau=4.0,
            loss_weight=0.1,
        )
    ),
)
