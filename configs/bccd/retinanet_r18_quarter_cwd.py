_base_ = '../_base_/pairs/bccd_retinanet_r18_quarter.py'

# The weight of MMRazor's configs for class scores.
model = dict(
    losses=dict(
        cwd=dict(
            type='CWDLoss', student='bbox_head[0]', teacher='bbox_head[0]', tau=1.0, loss_weight=5.0
        )
    )
)
