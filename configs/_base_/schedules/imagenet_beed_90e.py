# Rethinking Online Knowledge Distillation with Multi-Exits, supplement A.2: batch 256, 90 epochs,
# SGD 0.1, x0.1 at 30 and 60.
_base_ = './imagenet_100e.py'

param_scheduler = dict(milestones=[30, 60])
train_cfg = dict(max_epochs=90)
