_base_ = ['../_base_/pairs/retinanet_x101_r50_2x.py', '../_base_/methods/cwd_coco.py']

levels = ['neck[0]', 'neck[1]', 'neck[2]', 'neck[3]']
model = dict(losses=dict(cwd=dict(_base_.term, student=levels, teacher=levels, loss_weight=5.0)))
