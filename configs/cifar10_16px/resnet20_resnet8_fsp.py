_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

model = dict(
    losses=dict(
        fsp=dict(
            type='FSPLoss',
            student=['backbone.relu', 'backbone.layer1', 'backbone.layer2', 'backbone.layer3'],
            teacher=['backbone.relu', 'backbone.layer1', 'backbone.layer2', 'backbone.layer3'],
            loss_weight=1.0,
            end=0,
        )
    ),
)
custom_hooks = [dict(type='mmkd.PretrainHook', losses=['fsp'], length=98, by_epoch=False)]
