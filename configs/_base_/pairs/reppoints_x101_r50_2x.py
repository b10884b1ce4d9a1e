_base_ = 'mmdet::reppoints/reppoints-moment_r50_fpn-gn_head-gn_2x_coco.py'

custom_imports = dict(imports=['mmkd'])
default_hooks = dict(
    publish=dict(type='mmkd.PublishStudentHook'),
    step_seed=dict(type='mmkd.StepSeedHook'),
)
model = dict(
    _delete_=True,
    type='mmkd.DetectionDistiller',
    student=_base_.model,
    teacher=dict(
        config='mmdet::reppoints/reppoints-moment_x101-dconv-c3-c5_fpn-gn_head-gn_2x_coco.py'
    ),
    # Deformable convolutions do not take the 2x2 positions of stride 32 in the default image.
    input_shape=(3, 128, 128),
)

# The levels before the GroupNorm of the neck, as in the configs of FGD and MGD.
convs = [
    'neck.fpn_convs.0.conv',
    'neck.fpn_convs.1.conv',
    'neck.fpn_convs.2.conv',
    'neck.fpn_convs.3.conv',
    'neck.fpn_convs.4.conv',
]
