_base_ = [
    '../_base_/pairs/resnet32x4_shufflenet_v1_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        nst=dict(
            type='NSTLoss',
            student=_base_.student_stages,
            teacher=_base_.teacher_stages,
            loss_weight=50.0,
        )
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
