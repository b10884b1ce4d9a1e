# For comparing methods on a CPU: the whole of CIFAR-10 at 16x16 pixels for one epoch, no paper's
# schedule.
_base_ = ['../datasets/cifar10_folders.py', './cifar_sgd.py']

_crop_flip = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=16, interpolation='area'),
    dict(type='RandomCrop', crop_size=16, padding=2),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
_plain = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=16, interpolation='area'),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=64, num_workers=0, dataset=dict(pipeline=_crop_flip))
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=_plain))
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=0.05, nesterov=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=100, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=1, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=1)
