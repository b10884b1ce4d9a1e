_base_ = ['../_base_/pairs/retinanet_x101_r50_2x.py', '../_base_/methods/fgd_anchor_based.py']

model = dict(init_student=True, losses=dict(fgd=_base_.term))
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
