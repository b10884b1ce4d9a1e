_base_ = '../_base_/pairs/faster_rcnn_r101_r18.py'

model = dict(
    losses=dict(
        fgfi=dict(
            type='FGFILoss',
            student='neck',
            teacher='neck',
            anchor_generator=_base_.model.student.rpn_head.anchor_generator,
            loss_weight=0.01,
        )
    )
)
