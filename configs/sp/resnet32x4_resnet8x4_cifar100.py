_base_ = [
    '../_base_/pairs/resnet32x4_resnet8x4_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

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
