_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'

# Stages of stride 4, 8, 16 and 32, none frozen, as in the authors' setting; BatchNorm statistics
# stay those of ImageNet, as the ResNets' do.
model = dict(
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        out_indices=(1, 2, 4, 6),
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://mmdet/mobilenet_v2'),
    ),
    neck=dict(in_channels=[24, 32, 96, 320]),
)
