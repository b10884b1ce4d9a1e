_base_ = '../schedules/cifar100_reviewkd_240e.py'

term = dict(type='ReviewKDLoss', loss_weight=5.0, warmup=20)
