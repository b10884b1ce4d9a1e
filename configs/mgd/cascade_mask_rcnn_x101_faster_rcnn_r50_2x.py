_base_ = [
    '../_base_/pairs/cascade_mask_rcnn_x101_faster_rcnn_r50_2x.py',
    '../_base_/methods/mgd_two_stage.py',
]

model = dict(losses=dict(mgd=_base_.term))
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
