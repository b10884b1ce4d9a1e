# A small backbone learns the maps of a larger one on scenes without labels; no head is trained.
_base_ = '../demo/scenes_student.py'

model = dict(
    _delete_=True,
    type='mmkd.DetectionDistiller',
    student=_base_.model,
    student_loss_weight=0.0,
    teacher=dict(
        config='{{ fileDirname }}/../demo/scenes_teacher.py',
        checkpoint='work_dirs/demo/scenes_teacher/epoch_12.pth',
    ),
    losses=dict(
        hint=dict(type='HintLoss', student='backbone', teacher='backbone', regressor='conv')
    ),
)

# Other scenes than those that have labels.
train_dataloader = dict(
    dataset=dict(
        num_images=1600,
        seed=1,
        pipeline=[step for step in _base_.train_pipeline if step.type != 'LoadAnnotations'],
    )
)

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', T_max=12, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=12, val_interval=12)
