_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(type='VIDLoss', loss_weight=1.0)
