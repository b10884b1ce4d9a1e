# Explicit Connection Distillation, Figure 2: ResNet-44 on CIFAR-10, with the setting of CIFAR-100.
_base_ = ['../datasets/cifar10.py', './cifar_sgd.py']

train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = dict(milestones=[100, 150])
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=128)
