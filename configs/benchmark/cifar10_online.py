# Networks that teach each other or themselves, on a CPU, where there is something to regularise.
# The data is prepared as configs/benchmark/README.md says.
title = 'CIFAR-10 at 16 pixels, few images: mutual, multi-exit and connection'
prose = """
500 images to train on, or 2,000 for networks with exits, 90 epochs, so that networks overfit: what
these methods can add is bounded by what an ensemble of their control has over the control's network
(*ensemble* minus *top-1* of the control's row). Exits of ResNet-14 with 200 images a class are
where [cifar10_headroom.md](cifar10_headroom.md) found most of it. Top-1 on the 10,000 test images
after the last epoch; of two networks, *top-1* is the first one's.

*Independent* is two networks with `beta=0`, *deep supervision* two with the auxiliary classifiers
of DCM and `beta=gamma=0`; CE, with exits or branches, is their classification losses alone. Each
method's control is what it is without the terms that distil; that of CE, ECD and ECD* is the
network alone, that of deep supervision the independent networks.
"""
notes = """
Shown: DML beside a ResNet-14, deep supervision beside one, and exits with their classification
losses over the network alone. Of sixteen intervals of 95 % one may miss by chance.

Not shown: DML of two ResNet-8, DCM, KD among exits, EED, BEED, BYOT, ONE, ECD, ECD*. What was
looked at:

* DML, DCM: the ensemble of the independent networks has 1.7 points over the first network for two
  ResNet-8, and 2.1 for ResNet-8 and 14. Deep supervision alone takes a part of it, and DCM's
  networks agree more: its ensembles are a point below their control's. Beside a ResNet-14 the
  second network, the larger one, gains from both (+1.5 ± 1.2, +1.0 ± 0.8).
* KD, EED, BEED: the ensemble of CE's exits has 1.7 points over the last one. KD, whose only teacher
  is the last exit, has a first exit and an ensemble below CE's. EED and BEED, whose teacher is the
  ensemble, are on average above CE at every exit, EED most at the second (+1.1 ± 1.1). Their
  ensembles fall, by 0.6 and 1.1 points: the exits agree more.
* ONE: its three branches agree within 0.4 points when they only classify, so their ensemble is
  hardly a teacher.
* ECD, ECD*: the generated teacher is one to two points below the student alone. With 50 images a
  class its connections are one more thing that overfits.

## Held against the authors' code

* All terms equal a slow evaluation of the papers' equations (`tests/losses/test_dcm.py`,
  `tests/losses/test_exit_objectives.py`), and without its terms the mutual trainer gives what a
  network alone gives.
* DCM was run beside its authors' public code (sundw2014/DCM): their WRN-16-1 with two auxiliary
  classifiers and their objective, and `MutualDistiller` with the same weights, batches and SGD.
  The losses of the first and the fifth step agree to seven digits, and no weight or norm statistic
  differs by more than 3e-5.
* CE, KD, EED and BEED were evaluated beside theirs (hjdw2/BEED) on ResNet-8 and real batches, at
  the start and after 100 steps: losses agree to six digits, gradients to 2.5e-7.
"""

metrics = [
    dict(key='accuracy/top1', label='top-1 (%)'),
    dict(key='accuracy/net2_top1', label='net 2'),
    dict(key='accuracy/exit1_top1', label='exit 1'),
    dict(key='accuracy/exit2_top1', label='exit 2'),
    dict(key='accuracy/teacher_top1', label='generated teacher'),
    dict(key='accuracy/ensemble_top1', label='ensemble'),
]
seeds = [0, 1, 2, 3, 4, 5]
options = {
    'train_dataloader.dataset.type': 'mmkd.FewImages',
    'train_dataloader.dataset.per_class': 50,
    'train_cfg.max_epochs': 90,
    'train_cfg.val_interval': 90,
    'param_scheduler.1.T_max': 90,
}

_no_dcm = {'model.objective.beta': 0.0, 'model.objective.gamma': 0.0}
_ce = {'model.objective.type': 'mmkd.ExitCELoss'}
# Where exits have most to learn from each other.
_exits = {
    'train_dataloader.dataset.per_class': 200,
    'model.student.model.backbone.depth': 14,
}
# ONE's KL grows over 80 of 300 epochs.
_one_ramp = {
    'model.objective.schedules.kd.warmup': 24,
    'model.objective.schedules.kd.ramp': 'sigmoid',
}
# Name: label, config, options, control.
_rows = dict(
    alone=('ResNet-8 alone', 'resnet8', {}, None),
    independent_8=('ResNet-8 and 8, independent', 'dml_resnet8_resnet8', _no_dcm, None),
    dml_8=('ResNet-8 and 8, DML', 'dml_resnet8_resnet8', {}, 'independent_8'),
    deep_8=('ResNet-8 and 8, deep supervision', 'dcm_resnet8_resnet8', _no_dcm, 'independent_8'),
    dcm_8=('ResNet-8 and 8, DCM', 'dcm_resnet8_resnet8', {}, 'deep_8'),
    independent_14=('ResNet-8 and 14, independent', 'dml_resnet8_resnet14', _no_dcm, None),
    dml_14=('ResNet-8 and 14, DML', 'dml_resnet8_resnet14', {}, 'independent_14'),
    deep_14=(
        'ResNet-8 and 14, deep supervision',
        'dcm_resnet8_resnet14',
        _no_dcm,
        'independent_14',
    ),
    dcm_14=('ResNet-8 and 14, DCM', 'dcm_resnet8_resnet14', {}, 'deep_14'),
    alone_14=(
        'ResNet-14 alone, 200 a class',
        'resnet14',
        {'train_dataloader.dataset.per_class': 200},
        None,
    ),
    ce=('Exits, CE', 'exits_ce_resnet8', _exits, 'alone_14'),
    kd=('Exits, KD', 'exits_kd_resnet8', _exits, 'ce'),
    eed=('Exits, EED', 'exits_eed_resnet8', _exits, 'ce'),
    beed=('Exits, BEED', 'exits_beed_resnet8', _exits, 'ce'),
    byot_ce=("BYOT's exits, CE", 'byot_resnet8', {**_exits, **_ce}, 'alone_14'),
    byot=('BYOT', 'byot_resnet8', _exits, 'byot_ce'),
    one_ce=('Three branches, CE', 'one_resnet8', _ce, 'alone'),
    one=('ONE', 'one_resnet8', _one_ramp, 'one_ce'),
    ecd=('ECD', 'ecd_resnet8', {}, 'alone'),
    ecd_star=('ECD*', 'ecd_star_resnet8', {}, 'alone'),
)
rows = {
    _name: dict(
        label=_label,
        config=f'mmkd::cifar10_16px/{_config}.py',
        options=_options,
        control=_control,
    )
    for _name, (_label, _config, _options, _control) in _rows.items()
}
