_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

model = dict(
    losses=dict(
        crd=dict(
            type='CRDLoss',
            student='head.fc:input',
            teacher='head.fc:input',
            num_data=50000,
            loss_weight=0.8,
        )
    ),
)
