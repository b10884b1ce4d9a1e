_base_ = ['../_base_/pairs/mask_rcnn_r101_r50.py', '../_base_/methods/fgfi_coco.py']

model = dict(
    losses=dict(
        fgfi=dict(
            _base_.term,
            anchor_generator=_base_.model.student.rpn_head.anchor_generator,
        )
    )
)
