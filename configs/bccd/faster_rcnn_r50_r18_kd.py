_base_ = '../_base_/pairs/bccd_faster_rcnn_r50_r18.py'

model = dict(
    losses=dict(
        kd=dict(
            type='KLDivergenceLoss',
            student='roi_head.bbox_head.fc_cls',
            teacher='roi_head.bbox_head.fc_cls',
            tau=1.0,
            loss_weight=20.0,
        )
    )
)
