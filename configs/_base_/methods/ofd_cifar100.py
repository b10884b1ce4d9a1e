_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(type='OFDLoss', margins='norm', loss_weight=1e-3)
