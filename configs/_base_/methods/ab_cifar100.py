_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(type='ABLoss', loss_weight=1.0, end=0)
custom_hooks = [dict(type='mmkd.PretrainHook', losses=['ab'], length=30)]
