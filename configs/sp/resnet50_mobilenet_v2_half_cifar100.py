_base_ = [
    '../_base_/pairs/resnet50_mobilenet_v2_half_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        sp=dict(
            type='SimilarityPreservingLoss',
            student='backbone.layer7',
            teacher='backbone.layer4',
            loss_weight=3000.0,
        )
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
