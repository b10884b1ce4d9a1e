_base_ = './retinanet_r101_r50_1x.py'

model = dict(teacher=dict(config='mmdet::fcos/fcos_x101-64x4d_fpn_gn-head_ms-640-800-2x_coco.py'))
