_base_ = ['../_base_/models/resnet20_cifar.py', '../_base_/schedules/cifar10_16px_1e.py']

model = dict(head=dict(num_classes=10))

train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=100, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=8, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=8, val_interval=4)
