_base_ = '../_base_/pairs/bccd_retinanet_r18_quarter.py'

# From scratch the full weight in the first steps kills the ReLUs of the class branch.
model = dict(
    losses=dict(
        kd=dict(
            type='QualityFocalKDLoss',
            student='bbox_head[0]',
            teacher='bbox_head[0]',
            anchor_generator=_base_.model.student.bbox_head.anchor_generator,
            assigner=_base_.model.student.train_cfg.assigner,
            warmup=4,
        )
    )
)
