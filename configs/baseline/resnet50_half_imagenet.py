_base_ = [
    '../_base_/models/resnet50_half.py',
    '../_base_/schedules/imagenet_100e.py',
]
