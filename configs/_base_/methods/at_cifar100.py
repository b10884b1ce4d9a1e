_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(type='AttentionTransferLoss', loss_weight=1000.0)
