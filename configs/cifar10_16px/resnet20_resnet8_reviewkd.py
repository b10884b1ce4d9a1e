_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

model = dict(
    losses=dict(
        review=dict(
            type='ReviewKDLoss',
            student=['backbone.layer1', 'backbone.layer2', 'backbone.layer3', 'neck[0]'],
            teacher=[
                'backbone.layer1.2.relu@-1:input',
                'backbone.layer2.2.relu@-1:input',
                'backbone.layer3.2.relu@-1:input',
                'neck[0]',
            ],
            loss_weight=0.6,
            warmup=65,
            by_epoch=False,
        )
    ),
)
