_base_ = [
    '../_base_/pairs/vgg13_mobilenet_v2_half_cifar100.py',
    '../_base_/schedules/cifar100_reviewkd_240e.py',
]

model = dict(
    losses=dict(
        review=dict(
            type='ReviewKDLoss',
            student=[
                'backbone.layer2',
                'backbone.layer3',
                'backbone.layer5',
                'backbone.layer7',
                'neck[0]',
            ],
            teacher=[
                'backbone.layer2.relu2:input',
                'backbone.layer3.relu2:input',
                'backbone.layer4.relu2:input',
                'backbone.layer5.relu2:input',
                'neck[0]',
            ],
            loss_weight=5.0,
            warmup=20,
        )
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.02))
