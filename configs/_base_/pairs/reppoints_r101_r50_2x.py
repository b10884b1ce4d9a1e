_base_ = './reppoints_x101_r50_2x.py'

model = dict(
    teacher=dict(config='mmdet::reppoints/reppoints-moment_r101_fpn-gn_head-gn_2x_coco.py')
)
