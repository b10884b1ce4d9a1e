_base_ = '../../bccd/faster_rcnn_r18.py'

model = dict(
    _delete_=True,
    type='mmkd.DetectionDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/../../bccd/faster_rcnn_r50.py',
        checkpoint='work_dirs/faster_rcnn_r50/epoch_12.pth',
    ),
)
