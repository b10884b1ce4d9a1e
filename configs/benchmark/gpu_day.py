# For one GPU and a day; not run yet. The data is prepared as configs/benchmark/README.md says.
#
#   mmkd benchmark mmkd::benchmark/gpu_day.py --jobs 4
_base_ = './gpu_half_hour.py'

title = 'CIFAR-10 on a GPU, a day'
prose = """
All 50,000 images at 32 pixels, batch 128, mixed precision, 200 epochs for teacher and students.
"""
notes = ''

metrics = [
    dict(key='accuracy/top1', label='top-1 (%)'),
    dict(key='accuracy/net2_top1', label='net 2'),
    dict(key='accuracy/exit1_top1', label='exit 1'),
    dict(key='accuracy/exit2_top1', label='exit 2'),
    dict(key='accuracy/teacher_top1', label='generated teacher'),
    dict(key='accuracy/ensemble_top1', label='ensemble'),
]
seeds = [0, 1, 2, 3, 4]
_long = {
    'train_cfg.max_epochs': 200,
    'train_cfg.val_interval': 50,
    'param_scheduler.1.T_max': 200,
}
options = _long
teachers = dict(resnet20=dict(options=_long))

# An eighth of 200 epochs of 391 iterations.
_pretraining = {'custom_hooks.0.length': 9775}
# Name: label, options.
_offline = dict(
    sp=('SP', {}),
    cc=('CC', {}),
    vid=('VID', {}),
    rkd=('RKD', {}),
    pkt=('PKT', {}),
    ab=('AB', _pretraining),
    ft=('FT', _pretraining),
    fsp=('FSP', _pretraining),
    nst=('NST', {}),
    ofd=('OFD', {}),
)
rows = {
    _name: dict(
        label=f'ResNet-20 teaches ResNet-8, {_label}',
        config=f'mmkd::cifar10_16px/resnet20_resnet8_{_name}.py',
        options=_options,
        teacher='resnet20',
        control='alone',
    )
    for _name, (_label, _options) in _offline.items()
}
# Name: label, config, options, control.
_online = dict(
    deep=(
        'ResNet-8 and 8, deep supervision',
        'dcm_resnet8_resnet8',
        {'model.objective.beta': 0.0, 'model.objective.gamma': 0.0},
        'independent',
    ),
    dcm=('ResNet-8 and 8, DCM', 'dcm_resnet8_resnet8', {}, 'deep'),
    ce=('Exits, CE', 'exits_ce_resnet8', {}, 'alone'),
    exits_kd=('Exits, KD', 'exits_kd_resnet8', {}, 'ce'),
    eed=('Exits, EED', 'exits_eed_resnet8', {}, 'ce'),
    beed=('Exits, BEED', 'exits_beed_resnet8', {}, 'ce'),
    ecd=('ECD', 'ecd_resnet8', {}, 'alone'),
    ecd_star=('ECD*', 'ecd_star_resnet8', {}, 'alone'),
)
for _name, (_label, _config, _options, _control) in _online.items():
    rows[_name] = dict(
        label=_label,
        config=f'mmkd::cifar10_16px/{_config}.py',
        options=_options,
        control=_control,
    )
