# Explicit Connection Distillation, A.1.1, ResNets: batch 128, 200 epochs, SGD 0.1, x0.1 at 100 and
# 150. The paper gives no momentum; 0.9 is that of the CRD code, which it refers to.
_base_ = ['../datasets/cifar100.py', './cifar_sgd.py']

train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [
    dict(type='MultiStepLR', gamma=0.1, milestones=[100, 150]),
    # The warm-up of Table 1's marked rows, none at a factor of 1.
    dict(type='LinearLR', start_factor=1.0, end=1),
]
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=128)
