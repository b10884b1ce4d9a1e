# Bottlenecks have one 3x3 convolution each.
_base_ = '../baseline/resnet50_half_imagenet.py'

model = dict(
    _delete_=True,
    type='mmkd.ConnectionDistiller',
    student=_base_.model,
    teacher_generator=dict(
        type='DynamicAdditiveConv2d', convs='backbone.layer?.*.conv2', num_kernels=8
    ),
    connections=dict(
        points=['backbone.layer[123].*.conv2', 'backbone.layer[123].*'],
        transform=dict(type='ConvModule', kernel_size=1, norm_cfg=dict(type='BN'), act_cfg=None),
    ),
)

val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy', topk=(1, 5))]
test_evaluator = val_evaluator
