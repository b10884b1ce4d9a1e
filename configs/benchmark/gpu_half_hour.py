# For one GPU and half an hour. The data is prepared as configs/benchmark/README.md says.
#
#   mmkd benchmark mmkd::benchmark/gpu_half_hour.py --jobs 15
#
# Networks this small leave a GPU idle: as many at once share it as there are cores
# (configs/benchmark/README.md says how).
title = 'CIFAR-10 on a GPU, half an hour'
prose = """
All 50,000 images at 32 pixels, batch 128, mixed precision. The teacher has 60 epochs, every student
20. The runs share one GPU by NVIDIA's MPS, with those of [bccd.md](bccd.md) among them.
"""
notes = """
The GPU was there for half an hour, most of which other tests and the runs of [bccd.md](bccd.md)
took: hence what is missing. DML and AT are not shown to gain. What DML could give is about what the
ensemble of the independent networks has over one of them.
"""

metrics = [
    dict(key='accuracy/top1', label='top-1 (%)'),
    dict(key='accuracy/net2_top1', label='net 2'),
    dict(key='accuracy/ensemble_top1', label='ensemble'),
]
seeds = [0, 1, 2]
amp = True
# The configs halve the images; here they stay.
_setting = {
    'train_dataloader.dataset.pipeline.1.scale': 32,
    'train_dataloader.dataset.pipeline.2.crop_size': 32,
    'train_dataloader.dataset.pipeline.2.padding': 4,
    'val_dataloader.dataset.pipeline.1.scale': 32,
    'test_dataloader.dataset.pipeline.1.scale': 32,
    'train_dataloader.batch_size': 128,
    'train_dataloader.num_workers': 3,
    'train_dataloader.persistent_workers': True,
    'val_dataloader.num_workers': 2,
    'test_dataloader.num_workers': 2,
    'default_hooks.device_augment.type': 'mmkd.DeviceAugmentHook',
    'optim_wrapper.optimizer.lr': 0.1,
}
options = {
    **_setting,
    'train_cfg.max_epochs': 20,
    'train_cfg.val_interval': 20,
    'param_scheduler.1.T_max': 20,
}
teachers = dict(
    resnet20=dict(
        label='ResNet-20, the teacher',
        config='mmkd::cifar10_16px/resnet20.py',
        options={
            **_setting,
            'train_cfg.max_epochs': 60,
            'train_cfg.val_interval': 60,
            'param_scheduler.1.T_max': 60,
        },
    )
)

_offline = dict(
    kd='KD', fitnet='FitNet', at='AT', crd='CRD', reviewkd='ReviewKD', dkd='DKD', dist='DIST'
)
rows = dict(
    alone=dict(label='ResNet-8 alone', config='mmkd::cifar10_16px/resnet8.py'),
    independent=dict(
        label='ResNet-8 and 8, independent',
        config='mmkd::cifar10_16px/dml_resnet8_resnet8.py',
        options={'model.objective.beta': 0.0},
    ),
    dml=dict(
        label='ResNet-8 and 8, DML',
        config='mmkd::cifar10_16px/dml_resnet8_resnet8.py',
        control='independent',
    ),
)
for _name, _label in _offline.items():
    rows[_name] = dict(
        label=f'ResNet-20 teaches ResNet-8, {_label}',
        config=f'mmkd::cifar10_16px/resnet20_resnet8_{_name}.py',
        teacher='resnet20',
        control='alone',
    )
