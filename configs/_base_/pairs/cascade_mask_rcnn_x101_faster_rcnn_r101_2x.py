_base_ = 'mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'

custom_imports = dict(imports=['mmkd'])
default_hooks = dict(
    publish=dict(type='mmkd.PublishStudentHook'),
    step_seed=dict(type='mmkd.StepSeedHook'),
)
model = dict(
    _delete_=True,
    type='mmkd.DetectionDistiller',
    student=_base_.model,
    teacher=dict(config='mmdet::dcn/cascade-mask-rcnn_x101-32x4d-dconv-c3-c5_fpn_1x_coco.py'),
    # Deformable convolutions do not take the 2x2 positions of stride 32 in the default image.
    input_shape=(3, 128, 128),
)
