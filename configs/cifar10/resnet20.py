# ResNet-20 on the whole of CIFAR-10, short enough for a CPU; no paper's schedule.
_base_ = [
    '../_base_/models/resnet20_cifar.py',
    '../_base_/datasets/cifar10_folders.py',
    '../_base_/schedules/cifar_sgd.py',
]

model = dict(head=dict(num_classes=10))

train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.1, nesterov=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=200, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=15, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=15)
