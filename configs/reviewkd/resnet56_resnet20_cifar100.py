_base_ = [
    '../_base_/pairs/resnet56_resnet20_cifar100.py',
    '../_base_/schedules/cifar100_reviewkd_240e.py',
]

model = dict(
    losses=dict(
        review=dict(
            type='ReviewKDLoss',
            student=['backbone.layer1', 'backbone.layer2', 'backbone.layer3', 'neck[0]'],
            teacher=[
                'backbone.layer1.8.relu:input',
                'backbone.layer2.8.relu:input',
                'backbone.layer3.8.relu:input',
                'neck[0]',
            ],
            loss_weight=0.6,
            warmup=20,
        )
    ),
)
