# Dense Cross-Layer Mutual-Distillation, supplement 1.1, ResNets and MobileNet: batch 64, 200
# epochs, SGD 0.1, x0.1 every 60 epochs, weight decay 1e-4.
_base_ = ['../datasets/cifar100.py', './cifar_sgd.py']

train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=1e-4))
param_scheduler = dict(milestones=[60, 120, 180])
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=64)
