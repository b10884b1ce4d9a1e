# Dense Cross-Layer Mutual-Distillation, supplement 1.1, DenseNet: batch 64, 300 epochs, SGD 0.1
# with Nesterov momentum, x0.1 at half and at three quarters, weight decay 1e-4.
_base_ = ['../datasets/cifar100.py', './cifar_sgd.py']

train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.1, nesterov=True, weight_decay=1e-4))
param_scheduler = dict(milestones=[150, 225])
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=64)
