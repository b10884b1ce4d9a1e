_base_ = [
    '../_base_/pairs/resnet50_vgg8_cifar100.py',
    '../_base_/methods/ft_cifar100.py',
]

model = dict(
    losses=dict(ft=dict(_base_.term, student='backbone.layer5', teacher='backbone.layer4'))
)

# The schedule's optimizer, as the benchmark does for students that are no ResNet or WRN.
custom_hooks = [dict(type='mmkd.PretrainHook', losses=['ft'], length=30)]
