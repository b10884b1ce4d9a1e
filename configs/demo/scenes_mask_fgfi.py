_base_ = './scenes_mask_reviewkd.py'

model = dict(
    losses=dict(
        _delete_=True,
        fgfi=dict(
            type='FGFILoss',
            student='neck',
            teacher='neck',
            anchor_generator=_base_.model.student.rpn_head.anchor_generator,
            loss_weight=0.01,
        ),
    )
)
