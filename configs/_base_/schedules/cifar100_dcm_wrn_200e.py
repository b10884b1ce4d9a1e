# Dense Cross-Layer Mutual-Distillation, supplement 1.1, WRNs and pairs of different networks: batch
# 128, 200 epochs, SGD 0.1, x0.2 at 60, 120 and 160; reflecting padding as in the authors' code.
_base_ = ['../datasets/cifar100_reflect.py', './cifar_sgd.py']

train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = dict(milestones=[60, 120, 160], gamma=0.2)
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=128)
