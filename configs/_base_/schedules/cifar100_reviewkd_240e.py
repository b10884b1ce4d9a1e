# ReviewKD supplement, section 1: batch 128, SGD 0.1 (0.02 for MobileNet and ShuffleNet), with
# nesterov as in the authors' code.
_base_ = './cifar100_crd_240e.py'

train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.1, nesterov=True))
auto_scale_lr = dict(base_batch_size=128)
