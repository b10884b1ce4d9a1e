_base_ = './scenes_student.py'

model = dict(
    _delete_=True,
    type='mmkd.DetectionDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/scenes_teacher.py',
        checkpoint='work_dirs/demo/scenes_teacher/epoch_12.pth',
    ),
    losses=dict(review=dict(type='ReviewKDLoss', student='neck', teacher='neck', loss_weight=0.5)),
)
