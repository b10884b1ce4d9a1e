_base_ = './scenes_teacher.py'

# A quarter of the backbone's channels: 308,490 parameters instead of 968,034. It has labels for 80
# of the teacher's 400 scenes, each seen 24 times.
model = dict(backbone=dict(stem_channels=8, base_channels=8), neck=dict(in_channels=[8, 16, 32]))
train_dataloader = dict(dataset=dict(num_images=80))

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', T_max=24, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=24, val_interval=4)
