_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(type='HintLoss', loss_weight=100.0)
