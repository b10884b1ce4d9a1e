_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_16_2_cifar100.py',
    '../_base_/schedules/cifar100_reviewkd_240e.py',
]

model = dict(
    losses=dict(
        review=dict(
            type='ReviewKDLoss',
            student=['backbone.layer1', 'backbone.layer2', 'backbone.layer3', 'neck[0]'],
            teacher=[
                'backbone.layer2.0.relu1:input',
                'backbone.layer3.0.relu1:input',
                'backbone.tail.relu:input',
                'neck[0]',
            ],
            loss_weight=5.0,
            warmup=20,
        )
    ),
)
