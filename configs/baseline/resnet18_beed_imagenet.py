_base_ = [
    '../_base_/models/resnet18.py',
    '../_base_/schedules/imagenet_beed_90e.py',
]
