_base_ = [
    '../_base_/pairs/vgg13_vgg8_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        fsp=dict(
            type='FSPLoss',
            student=[
                'backbone.layer1',
                'backbone.layer2',
                'backbone.layer3',
                'backbone.layer4',
                'backbone.layer5',
            ],
            teacher=[
                'backbone.layer1',
                'backbone.layer2',
                'backbone.layer3',
                'backbone.layer4',
                'backbone.layer5',
            ],
            loss_weight=50.0,
            end=0,
        )
    ),
)
custom_hooks = [dict(type='mmkd.PretrainHook', losses=['fsp'], epochs=30)]
