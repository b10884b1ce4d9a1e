_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(type='NSTLoss', loss_weight=50.0)
