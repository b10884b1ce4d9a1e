_base_ = '../_base_/pairs/bccd_retinanet_r18_quarter.py'

model = dict(losses=dict(cwd=dict(type='CWDLoss', student='bbox_head[0]', teacher='bbox_head[0]')))
