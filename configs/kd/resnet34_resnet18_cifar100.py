_base_ = ['../_base_/models/resnet18_cifar.py', '../_base_/schedules/cifar100_crd_240e.py']

model = dict(
    _delete_=True,
    type='mmkd.OfflineDistiller',
    student=_base_.model,
    student_loss_weight=0.1,
    teacher=dict(
        config='{{ fileDirname }}/../baseline/resnet34_cifar100.py',
        checkpoint='work_dirs/resnet34_cifar100/epoch_240.pth',
    ),
    losses=dict(
        kd=dict(
            type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=4.0, loss_weight=0.9
        )
    ),
)
