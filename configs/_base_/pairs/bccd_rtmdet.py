_base_ = '../../bccd/rtmdet_student.py'

model = dict(
    _delete_=True,
    type='mmkd.DetectionDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/../../bccd/rtmdet_teacher.py',
        checkpoint='work_dirs/rtmdet_teacher/epoch_12.pth',
    ),
)
