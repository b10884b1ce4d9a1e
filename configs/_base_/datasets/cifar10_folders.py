# CIFAR-10 as folders of images: <split>/<class>/*.jpg. Pad 4, random crop, flip.
_base_ = './cifar10.py'

data_preprocessor = dict(to_rgb=True)  # files are read as BGR

_folders = dict(_delete_=True, type='CustomDataset', data_root='data/cifar10_jpeg', with_label=True)
_crop_flip = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
_plain = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(data_prefix='train', pipeline=_crop_flip, **_folders))
val_dataloader = dict(dataset=dict(data_prefix='test', pipeline=_plain, **_folders))
test_dataloader = val_dataloader
