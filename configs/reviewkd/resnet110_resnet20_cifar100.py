_base_ = [
    '../_base_/pairs/resnet110_resnet20_cifar100.py',
    '../_base_/schedules/cifar100_reviewkd_240e.py',
]

model = dict(
    losses=dict(
        review=dict(
            type='ReviewKDLoss',
            student=['backbone.layer1', 'backbone.layer2', 'backbone.layer3', 'neck[0]'],
            teacher=[
                'backbone.layer1.17.relu:input',
                'backbone.layer2.17.relu:input',
                'backbone.layer3.17.relu:input',
                'neck[0]',
            ],
            loss_weight=5.0,
            warmup=20,
        )
    ),
)
