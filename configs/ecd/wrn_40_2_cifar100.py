_base_ = '../baseline/wrn_40_2_ecd_cifar100.py'

model = dict(
    _delete_=True,
    type='mmkd.ConnectionDistiller',
    student=_base_.model,
    teacher_generator=dict(
        type='DynamicAdditiveConv2d', convs='backbone.layer?.*.residual.conv?', num_kernels=16
    ),
    connections=dict(
        points=['backbone.layer[12].*.residual.conv?', 'backbone.layer[12].*'],
        transform=dict(type='ConvModule', kernel_size=1, act_cfg=None),
    ),
)

val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy')]
test_evaluator = val_evaluator
