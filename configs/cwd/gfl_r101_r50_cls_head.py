_base_ = '../_base_/pairs/gfl_r101_r50.py'

# MMRazor before 1.0, whose published number this is.
model = dict(
    losses=dict(
        cwd=dict(
            type='CWDLoss',
            student='bbox_head[0]',
            teacher='bbox_head[0]',
            tau=1.0,
            loss_weight=5.0,
        )
    )
)
