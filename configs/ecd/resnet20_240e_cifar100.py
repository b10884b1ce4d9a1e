# Table 15, the setting of the CRD benchmark.
_base_ = '../baseline/resnet20_cifar100.py'

model = dict(
    _delete_=True,
    type='mmkd.ConnectionDistiller',
    student=_base_.model,
    teacher_generator=dict(
        type='DynamicAdditiveConv2d', convs='backbone.layer?.*.conv?', num_kernels=16
    ),
    connections=dict(
        points=['backbone.layer[12].*.conv?', 'backbone.layer[12].*'],
        transform=dict(type='ConvModule', kernel_size=1, act_cfg=None),
    ),
)

val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy')]
test_evaluator = val_evaluator
