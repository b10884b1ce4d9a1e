_base_ = ['../_base_/pairs/mask_rcnn_swin_s_retinanet_r50_2x.py', '../_base_/methods/pkd_coco.py']

# The student's levels start at stride 8, the teacher's at 4: as the authors', resized.
model = dict(losses=dict(pkd=dict(_base_.term, loss_weight=6.0, resize_student=True)))
