_base_ = 'mmdet::gfl/gfl_r101_fpn_ms-2x_coco.py'

custom_imports = dict(imports=['mmkd'])
default_hooks = dict(
    publish=dict(type='mmkd.PublishStudentHook'),
    step_seed=dict(type='mmkd.StepSeedHook'),
)
model = dict(
    _delete_=True,
    type='mmkd.DetectionDistiller',
    student=_base_.model,
    teacher=dict(config='mmdet::gfl/gfl_r101-dconv-c3-c5_fpn_ms-2x_coco.py'),
    # Deformable convolutions do not take the 2x2 positions of stride 32 in the default image.
    input_shape=(3, 128, 128),
)
