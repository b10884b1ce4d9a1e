_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(
    type='CRDLoss',
    student='head.fc:input',
    teacher='head.fc:input',
    num_data=50000,
    loss_weight=0.8,
)
