_base_ = '../_base_/pairs/resnet50_mobilenet_v1_imagenet.py'

model = dict(
    losses=dict(
        review=dict(
            type='ReviewKDLoss',
            student=[
                'backbone.layer2',
                'backbone.layer3',
                'backbone.layer4',
                'backbone.layer5',
                'neck[0]',
            ],
            teacher=[
                'backbone.layer1.2.relu@-1:input',
                'backbone.layer2.3.relu@-1:input',
                'backbone.layer3.5.relu@-1:input',
                'backbone.layer4.2.relu@-1:input',
                'neck[0]',
            ],
            loss_weight=8.0,
        )
    ),
)
