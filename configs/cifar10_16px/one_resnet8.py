# Three branches of the last stage, as in ONE's ResNet-32.
_base_ = './exits_ce_resnet8.py'

_student = _base_.model.student.model
model = dict(
    student=dict(
        exits=[
            dict(
                tap='backbone.layer2',
                type='mmkd.BranchExit',
                backbone=_student.backbone,
                stages=('layer3',),
                feat_channels=64,
            )
        ]
        * 2
    ),
    objective=dict(_delete_=True, type='mmkd.ONELoss', tap='backbone.layer2'),
)
