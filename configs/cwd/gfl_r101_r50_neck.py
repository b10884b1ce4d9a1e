_base_ = ['../_base_/pairs/gfl_r101_r50.py', '../_base_/methods/cwd_coco.py']

model = dict(losses=dict(cwd=_base_.term))
