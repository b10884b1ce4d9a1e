# A.1.2: 8 kernels; 1x1 convolutions and norms from Conv2_x to Conv4_x.
_base_ = '../baseline/resnet18_imagenet.py'

model = dict(
    _delete_=True,
    type='mmkd.ConnectionDistiller',
    student=_base_.model,
    teacher_generator=dict(
        type='DynamicAdditiveConv2d', convs='backbone.layer?.*.conv?', num_kernels=8
    ),
    connections=dict(
        points=['backbone.layer[123].*.conv?', 'backbone.layer[123].*'],
        transform=dict(type='ConvModule', kernel_size=1, norm_cfg=dict(type='BN'), act_cfg=None),
    ),
)

val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy', topk=(1, 5))]
test_evaluator = val_evaluator
