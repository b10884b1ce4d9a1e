_base_ = 'mmdet::retinanet/retinanet_r50_fpn_2x_coco.py'

custom_imports = dict(imports=['mmkd'])
default_hooks = dict(
    publish=dict(type='mmkd.PublishStudentHook'),
    step_seed=dict(type='mmkd.StepSeedHook'),
)
model = dict(
    _delete_=True,
    type='mmkd.DetectionDistiller',
    student=_base_.model,
    teacher=dict(config='mmdet::retinanet/retinanet_x101-64x4d_fpn_1x_coco.py'),
)
