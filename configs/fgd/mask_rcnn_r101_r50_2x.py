_base_ = ['../_base_/pairs/mask_rcnn_r101_r50_2x.py', '../_base_/methods/fgd_two_stage.py']

model = dict(init_student=True, losses=dict(fgd=_base_.term))
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
