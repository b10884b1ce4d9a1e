_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

model = dict(
    losses=dict(
        sp=dict(
            type='SimilarityPreservingLoss',
            student='backbone.layer3',
            teacher='backbone.layer3',
            loss_weight=3000.0,
        )
    ),
)
