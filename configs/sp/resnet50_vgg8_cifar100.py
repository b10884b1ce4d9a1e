_base_ = [
    '../_base_/pairs/resnet50_vgg8_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        sp=dict(
            type='SimilarityPreservingLoss',
            student='backbone.layer5',
            teacher='backbone.layer4',
            loss_weight=3000.0,
        )
    ),
)
