# Student and schedule of FGD's authors: centerness beside the classes, two image scales, 24 epochs.
_base_ = 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py'

custom_imports = dict(imports=['mmkd'])
default_hooks = dict(
    publish=dict(type='mmkd.PublishStudentHook'),
    step_seed=dict(type='mmkd.StepSeedHook'),
)
model = dict(
    _delete_=True,
    type='mmkd.DetectionDistiller',
    student=dict(_base_.model, bbox_head=dict(_base_.model.bbox_head, centerness_on_reg=False)),
    teacher=dict(config='mmdet::fcos/fcos_r101-caffe_fpn_gn-head_ms-640-800-2x_coco.py'),
)

resize = dict(type='RandomChoiceResize', scales=[(1333, 640), (1333, 800)], keep_ratio=True)
pipeline = [
    resize if step.type == 'Resize' else step for step in _base_.train_dataloader.dataset.pipeline
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))

train_cfg = dict(max_epochs=24)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=24, milestones=[16, 22], gamma=0.1),
]
