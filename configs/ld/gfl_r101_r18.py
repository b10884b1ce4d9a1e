_base_ = '../_base_/pairs/gfl_r101_r18.py'

model = dict(
    losses=dict(
        ld=dict(
            type='LDLoss',
            student=['bbox_head[0]', 'bbox_head[1]'],
            teacher='bbox_head[1]',
            anchor_generator=_base_.model.student.bbox_head.anchor_generator,
            assigner=_base_.model.student.train_cfg.assigner,
        )
    )
)
