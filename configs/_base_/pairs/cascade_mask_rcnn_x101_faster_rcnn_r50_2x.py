_base_ = './faster_rcnn_r101_r50_2x.py'

model = dict(
    teacher=dict(config='mmdet::dcn/cascade-mask-rcnn_x101-32x4d-dconv-c3-c5_fpn_1x_coco.py'),
    # Deformable convolutions do not take the 2x2 positions of stride 32 in the default image.
    input_shape=(3, 128, 128),
)
