# What networks with exits could gain from each other, before any method is tried.
# The data is prepared as configs/benchmark/README.md says.
title = 'CIFAR-10 at 16 pixels: what an ensemble of exits has over its network'
prose = """
Classification losses alone at every exit, 90 epochs. Exits can teach their network no more than
about what their *ensemble* has over it (*ensemble* minus *top-1*). Top-1 on the 10,000 test images
after the last epoch.
"""

metrics = [
    dict(key='accuracy/top1', label='top-1 (%)'),
    dict(key='accuracy/exit1_top1', label='exit 1'),
    dict(key='accuracy/exit2_top1', label='exit 2'),
    dict(key='accuracy/ensemble_top1', label='ensemble'),
]
seeds = [0, 1, 2]
options = {
    'train_dataloader.dataset.type': 'mmkd.FewImages',
    'train_cfg.max_epochs': 90,
    'train_cfg.val_interval': 90,
    'param_scheduler.1.T_max': 90,
    'model.objective.type': 'mmkd.ExitCELoss',
}
# Name: label, config, depth.
_networks = dict(
    resnet8=('ResNet-8', 'exits_ce_resnet8', 8),
    resnet14=('ResNet-14', 'exits_ce_resnet8', 14),
    resnet20=('ResNet-20', 'exits_ce_resnet8', 20),
    byot_resnet8=("ResNet-8, BYOT's exits", 'byot_resnet8', 8),
    byot_resnet20=("ResNet-20, BYOT's exits", 'byot_resnet8', 20),
    one_resnet8=('ResNet-8, three branches', 'one_resnet8', 8),
)
rows = {
    f'{_name}_{_images}': dict(
        label=f'{_label}, {_images} images a class',
        config=f'mmkd::cifar10_16px/{_config}.py',
        options={
            'train_dataloader.dataset.per_class': _images,
            'model.student.model.backbone.depth': _depth,
        },
    )
    for _name, (_label, _config, _depth) in _networks.items()
    for _images in (50, 200)
}
