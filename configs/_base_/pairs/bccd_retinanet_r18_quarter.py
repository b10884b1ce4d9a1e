_base_ = '../../bccd/retinanet_r18_quarter.py'

model = dict(
    _delete_=True,
    type='mmkd.DetectionDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/../../bccd/retinanet_r18.py',
        checkpoint='work_dirs/retinanet_r18/epoch_12.pth',
    ),
)
