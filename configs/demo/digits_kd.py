_base_ = './digits_student.py'

model = dict(
    _delete_=True,
    type='mmkd.OfflineDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/digits_teacher.py',
        checkpoint='work_dirs/demo/digits_teacher/epoch_30.pth',
    ),
    student_loss_weight=0.1,
    losses=dict(
        kd=dict(
            type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=4.0, loss_weight=0.9
        )
    ),
)
