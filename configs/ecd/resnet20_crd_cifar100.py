# Table 14, ECD + CRD from a frozen ResNet-56.
_base_ = 'resnet20_cifar100.py'

model = dict(
    teachers=dict(
        resnet56=dict(
            config='{{ fileDirname }}/../baseline/resnet56_cifar100.py',
            checkpoint='work_dirs/resnet56_cifar100/epoch_240.pth',
        )
    ),
    losses=dict(
        crd=dict(
            type='CRDLoss',
            student='head.fc:input',
            teacher='resnet56:head.fc:input',
            num_data=50000,
            loss_weight=0.8,
        )
    ),
)
