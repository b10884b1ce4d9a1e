_base_ = ['../_base_/pairs/mask_rcnn_r101_r18.py', '../_base_/methods/reviewkd_released_coco.py']

model = dict(
    student=dict(backbone=dict(norm_cfg=_base_.frozen_norm)),
    teacher=dict(config='mmdet::mask_rcnn/mask-rcnn_r101_fpn_ms-poly-3x_coco.py'),
    losses=dict(review=dict(_base_.term, loss_weight=1.5)),
)
optim_wrapper = dict(paramwise_cfg=_base_.paramwise)
pipeline = [
    _base_.resize if step.type == 'Resize' else step
    for step in _base_.train_dataloader.dataset.pipeline
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
