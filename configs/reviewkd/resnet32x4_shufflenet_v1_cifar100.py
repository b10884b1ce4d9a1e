_base_ = [
    '../_base_/pairs/resnet32x4_shufflenet_v1_cifar100.py',
    '../_base_/schedules/cifar100_reviewkd_240e.py',
]

model = dict(
    losses=dict(
        review=dict(
            type='ReviewKDLoss',
            student=['backbone.layer1', 'backbone.layer2', 'backbone.layer3', 'neck[0]'],
            teacher=[
                'backbone.layer1.4.relu:input',
                'backbone.layer2.4.relu:input',
                'backbone.layer3.4.relu:input',
                'neck[0]',
            ],
            loss_weight=5.0,
            warmup=20,
        )
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.02))
