_base_ = 'mmpretrain::_base_/models/mobilenet_v2_1x.py'

model = dict(
    backbone=dict(_delete_=True, type='mmkd.MobileNetV1'),
    head=dict(in_channels=1024),
)
