# Rethinking Online Knowledge Distillation with Multi-Exits, supplement A.2: batch 128, 200 epochs,
# SGD 0.1, x0.1 at 75, 130 and 180.
_base_ = ['../datasets/cifar100.py', './cifar_sgd.py']

train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = dict(milestones=[75, 130, 180])
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=128)
