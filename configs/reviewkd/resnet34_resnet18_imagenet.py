_base_ = '../_base_/pairs/resnet34_resnet18_imagenet.py'

model = dict(
    losses=dict(
        review=dict(
            type='ReviewKDLoss',
            student=[
                'backbone.layer1',
                'backbone.layer2',
                'backbone.layer3',
                'backbone.layer4',
                'neck[0]',
            ],
            teacher=[
                'backbone.layer1.2.relu@-1:input',
                'backbone.layer2.3.relu@-1:input',
                'backbone.layer3.5.relu@-1:input',
                'backbone.layer4.2.relu@-1:input',
                'neck[0]',
            ],
            loss_weight=1.0,
        )
    ),
)
