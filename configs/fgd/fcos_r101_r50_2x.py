_base_ = ['../_base_/pairs/fcos_r101_r50_2x.py', '../_base_/methods/fgd_anchor_free.py']

model = dict(init_student=True, losses=dict(fgd=dict(_base_.term, temp=0.8)))
optim_wrapper = dict(clip_grad=dict(_delete_=True, max_norm=35, norm_type=2))
