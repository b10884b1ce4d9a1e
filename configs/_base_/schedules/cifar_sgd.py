# What the papers' CIFAR schedules share; each adds batch size, learning rate, epochs, milestones.
_base_ = '../default_runtime_cls.py'

optim_wrapper = dict(optimizer=dict(type='SGD', momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(type='MultiStepLR', gamma=0.1)
train_cfg = dict(by_epoch=True, val_interval=1)
val_cfg = dict()
test_cfg = dict()

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='accuracy/top1', rule='greater'))
