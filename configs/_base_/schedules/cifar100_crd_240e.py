# Benchmark of Contrastive Representation Distillation on CIFAR-100: batch 64, 240 epochs, SGD 0.05
# (0.01 for MobileNet and ShuffleNet), x0.1 at 150, 180 and 210.
_base_ = ['../datasets/cifar100.py', './cifar_sgd.py']

train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = dict(milestones=[150, 180, 210])
train_cfg = dict(max_epochs=240)
auto_scale_lr = dict(base_batch_size=64)
