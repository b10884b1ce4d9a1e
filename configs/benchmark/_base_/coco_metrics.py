metrics = [
    dict(key='coco/bbox_mAP', label='box mAP (%)', scale=100),
    dict(key='coco/bbox_mAP_50', label='AP50 (%)', scale=100),
    dict(key='coco/bbox_mAP_75', label='AP75 (%)', scale=100),
]
