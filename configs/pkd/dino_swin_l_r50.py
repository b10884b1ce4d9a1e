_base_ = ['../_base_/pairs/dino_swin_l_r50.py', '../_base_/methods/pkd_coco.py']

# An example: no paper has this pair. The teacher's first level is of stride 4, the student's of 8.
model = dict(
    losses=dict(
        pkd=dict(_base_.term, teacher=['neck[1]', 'neck[2]', 'neck[3]', 'neck[4]']),
    )
)
