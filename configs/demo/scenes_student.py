_base_ = './scenes_teacher.py'

# 308,490 parameters instead of 1,744,738, and 8 epochs instead of 12.
model = dict(
    backbone=dict(stem_channels=8, base_channels=8),
    neck=dict(in_channels=[8, 16, 32], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32),
        bbox_head=dict(in_channels=32, fc_out_channels=128),
    ),
)

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', T_max=8, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=8, val_interval=2)
