_base_ = './retinanet_x101_r50_2x.py'

model = dict(teacher=dict(config='mmdet::retinanet/retinanet_r101_fpn_2x_coco.py'))
