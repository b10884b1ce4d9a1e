_base_ = [
    '../_base_/models/faster_rcnn_mv2_fpn.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_180k.py',
]
