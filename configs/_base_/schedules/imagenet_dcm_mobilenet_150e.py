# Dense Cross-Layer Mutual-Distillation, supplement 1.2, MobileNetV2: batch 256, 150 epochs, SGD
# 0.05 along a cosine to 0, weight decay 4e-5.
_base_ = './imagenet_100e.py'

optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=4e-5))
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', T_max=150, by_epoch=True)
train_cfg = dict(max_epochs=150)
