_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(type='RKDLoss', student='head.fc:input', teacher='head.fc:input', loss_weight=1.0)
