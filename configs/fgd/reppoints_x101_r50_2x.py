_base_ = ['../_base_/pairs/reppoints_x101_r50_2x.py', '../_base_/methods/fgd_anchor_free.py']

model = dict(
    init_student=True,
    losses=dict(fgd=dict(_base_.term, student=_base_.convs, teacher=_base_.convs)),
)
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
