_base_ = [
    '../_base_/pairs/vgg13_vgg8_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        sp=dict(
            type='SimilarityPreservingLoss',
            student='backbone.layer5',
            teacher='backbone.layer5',
            loss_weight=3000.0,
        )
    ),
)
