_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/schedules/imagenet_100e.py',
]
