_base_ = ['../_base_/pairs/retinanet_x101_r50_2x.py', '../_base_/methods/mgd_one_stage.py']

model = dict(
    init_student=True,
    teacher=dict(config='mmdet::retinanet/retinanet_x101-64x4d_fpn_ms-640-800-3x_coco.py'),
    losses=dict(mgd=_base_.term),
)
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
