_base_ = '../../bccd/gfl_r18_quarter.py'

model = dict(
    _delete_=True,
    type='mmkd.DetectionDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/../../bccd/gfl_r18.py',
        checkpoint='work_dirs/gfl_r18/epoch_12.pth',
    ),
)
