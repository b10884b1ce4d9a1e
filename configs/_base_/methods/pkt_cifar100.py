_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(type='PKTLoss', student='head.fc:input', teacher='head.fc:input', loss_weight=30000.0)
