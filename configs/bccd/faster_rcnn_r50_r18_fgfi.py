_base_ = '../_base_/pairs/bccd_faster_rcnn_r50_r18.py'

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
