_base_ = [
    '../_base_/models/resnet34.py',
    '../_base_/schedules/imagenet_100e.py',
]
