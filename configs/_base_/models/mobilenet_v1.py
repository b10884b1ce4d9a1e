_base_ = 'mmpretrain::_base_/models/mobilenet_v2_1x.py'

# Starts as torch starts all layers, as in ReviewKD's code for ImageNet.
model = dict(
    backbone=dict(_delete_=True, type='mmkd.MobileNetV1', init_cfg=None),
    head=dict(in_channels=1024, init_cfg=None),
)
