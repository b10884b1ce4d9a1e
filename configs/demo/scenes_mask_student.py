_base_ = './scenes_mask_teacher.py'

# The channels of scenes_student.py.
model = dict(backbone=dict(stem_channels=8, base_channels=8), neck=dict(in_channels=[8, 16, 32]))
