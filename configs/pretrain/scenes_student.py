# The demo's student, from the backbone that scenes_backbone.py leaves.
_base_ = '../demo/scenes_student.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='work_dirs/scenes_backbone/student.pth',
            prefix='backbone.',
        )
    )
)
