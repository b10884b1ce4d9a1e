_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(type='FSPLoss', loss_weight=1.0, end=0)
custom_hooks = [dict(type='mmkd.PretrainHook', losses=['fsp'], length=30)]
