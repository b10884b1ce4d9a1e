_base_ = '../_base_/pairs/bccd_rtmdet.py'

model = dict(losses=dict(pkd=dict(type='PKDLoss', student='neck', teacher='neck', loss_weight=6.0)))
