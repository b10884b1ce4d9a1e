_base_ = [
    'mmpretrain::_base_/models/mobilenet_v2_1x.py',
    '../_base_/schedules/imagenet_dcm_mobilenet_150e.py',
]
