# Benchmark of Contrastive Representation Distillation on CIFAR-100: batch 64, 240 epochs, SGD 0.05
# (0.01 for MobileNet and ShuffleNet), x0.1 at 150, 180 and 210.
_base_ = ['../datasets/cifar100.py', '../default_runtime_cls.py']

train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(type='MultiStepLR', milestones=[150, 180, 210], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=240, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=64)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='accuracy/top1', rule='greater'))
