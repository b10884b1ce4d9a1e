_base_ = [
    '../_base_/pairs/resnet32x4_shufflenet_v2_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        crd=dict(
            type='CRDLoss',
            student='head.fc:input',
            teacher='head.fc:input',
            num_data=50000,
            loss_weight=0.8,
        )
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
