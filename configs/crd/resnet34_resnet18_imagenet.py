_base_ = '../_base_/pairs/resnet34_resnet18_imagenet.py'

model = dict(
    losses=dict(
        crd=dict(
            type='CRDLoss',
            student='head.fc:input',
            teacher='head.fc:input',
            num_data=1281167,
            loss_weight=0.8,
        )
    ),
)
