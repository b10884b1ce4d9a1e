_base_ = [
    '../_base_/models/mobilenet_v1.py',
    '../_base_/schedules/imagenet_100e.py',
]
