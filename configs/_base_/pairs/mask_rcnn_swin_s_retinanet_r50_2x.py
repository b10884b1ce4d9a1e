_base_ = './retinanet_x101_r50_2x.py'

model = dict(teacher=dict(config='mmdet::swin/mask-rcnn_swin-s-p4-w7_fpn_amp-ms-crop-3x_coco.py'))
