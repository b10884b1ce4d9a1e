_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(
    type='DKDLoss', student='head.fc', teacher='head.fc', alpha=1.0, beta=8.0, tau=4.0, warmup=20
)
