# Wide Residual Networks, section 3: what the crop misses is a reflection of the image, not black.
# RandomCrop reflects only what pad_if_needed adds.
_base_ = './cifar100.py'

train_pipeline = [
    dict(type='RandomCrop', crop_size=40, pad_if_needed=True, padding_mode='reflect'),
    dict(type='RandomCrop', crop_size=32),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
