_base_ = 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py'

custom_imports = dict(imports=['mmkd'])
default_hooks = dict(
    publish=dict(type='mmkd.PublishStudentHook'),
    step_seed=dict(type='mmkd.StepSeedHook'),
)
model = dict(
    _delete_=True,
    type='mmkd.DetectionDistiller',
    student=_base_.model,
    teacher=dict(config='mmdet::dino/dino-5scale_swin-l_8xb2-12e_coco.py'),
)
