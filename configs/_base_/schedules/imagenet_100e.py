# ReviewKD (supplement, section 1), Explicit Connection Distillation (A.1.2) and the ResNets of
# Dense Cross-Layer Mutual-Distillation (supplement 1.2): batch 256, 100 epochs, SGD 0.1, x0.1 at
# 30, 60 and 90, weight decay 1e-4.
_base_ = [
    '../datasets/imagenet.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    '../default_runtime_cls.py',
]

# On each of 4 GPUs; use --auto-scale-lr with another number.
train_dataloader = dict(batch_size=64)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='accuracy/top1', rule='greater'))
