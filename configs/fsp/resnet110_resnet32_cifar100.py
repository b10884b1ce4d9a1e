_base_ = [
    '../_base_/pairs/resnet110_resnet32_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        fsp=dict(
            type='FSPLoss',
            student=['backbone.relu', 'backbone.layer1', 'backbone.layer2', 'backbone.layer3'],
            teacher=['backbone.relu', 'backbone.layer1', 'backbone.layer2', 'backbone.layer3'],
            loss_weight=50.0,
            end=0,
        )
    ),
)
custom_hooks = [dict(type='mmkd.PretrainHook', losses=['fsp'], epochs=30)]
