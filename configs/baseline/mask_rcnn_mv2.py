_base_ = [
    '../_base_/models/mask_rcnn_mv2_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_180k.py',
]
