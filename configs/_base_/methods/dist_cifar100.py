_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(type='DISTLoss', student='head.fc', teacher='head.fc', tau=4.0, loss_weight=2.0)
