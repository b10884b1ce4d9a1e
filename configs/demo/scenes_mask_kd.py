_base_ = './scenes_mask_reviewkd.py'

model = dict(
    losses=dict(
        _delete_=True,
        kd=dict(
            type='KLDivergenceLoss',
            student='roi_head.bbox_head.fc_cls',
            teacher='roi_head.bbox_head.fc_cls',
            tau=1.0,
            loss_weight=20.0,
        ),
    )
)
