"""Whatever is wrong in a config ends in one sentence, before the first step."""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope

from mmkd.cli import train
from mmkd.cli.errors import is_explained, sentence
from mmkd.publish import plain_model
from mmkd.registry import MODELS

NAN, INF = float('nan'), float('inf')
GONE = object()
FC = dict(student='head.fc', teacher='head.fc')
KD = dict(type='KLDivergenceLoss', **FC)
LAYERS = ['backbone.layer1', 'backbone.layer2']

#: Key of a distiller's config, what is put there, and what the sentence says.
MODEL = [
    ('losses.kd.loss_weight', NAN, r'losses\.kd\.loss_weight=nan, expected a finite number'),
    ('losses.kd.loss_weight', INF, r'losses\.kd\.loss_weight=inf, expected a finite number'),
    ('losses.kd.loss_weight', -INF, r'losses\.kd\.loss_weight=-inf, expected a finite number'),
    ('losses.kd.loss_weight', -1, r'losses\.kd\.loss_weight=-1 is negative, expected 0 or more'),
    ('losses.kd.loss_weight', '0.9', r"losses\.kd\.loss_weight='0\.9' is a str, expected a num"),
    ('losses.kd.loss_weight', None, r'losses\.kd\.loss_weight=None is a NoneType, expected a num'),
    ('losses.kd.loss_weight', [1], r'losses\.kd\.loss_weight=\[1\] is a list, expected a number'),
    ('losses.kd.loss_weight', True, r'losses\.kd\.loss_weight=True is a bool, expected a number'),
    ('losses.kd.tau', NAN, r'losses\.kd\.tau=nan, expected a finite number'),
    ('losses.kd.tau', INF, r'losses\.kd\.tau=inf, expected a finite number'),
    ('losses.kd.tau', 0, r'losses\.kd: .*tau must be positive, found tau=0'),
    ('losses.kd.tau', -4, r'losses\.kd: .*tau must be positive, found tau=-4'),
    ('losses.kd.tau', '4', r"losses\.kd\.tau='4' is a str, expected a number"),
    (
        'losses.kd.taau',
        4,
        r'losses\.kd\.taau=4 is unknown: KLDivergenceLoss takes tau',
    ),
    ('losses.kd.warmup', '2', r"losses\.kd\.warmup='2' is a str, expected an integer"),
    ('losses.kd.warmup', 2.5, r'losses\.kd\.warmup=2\.5 is a float, expected an integer'),
    ('losses.kd.warmup', -2, r'losses\.kd\.warmup must not be negative, found -2'),
    ('losses.kd.begin', 'a', r"losses\.kd\.begin='a' is a str, expected an integer"),
    ('losses.kd.begin', -1, r'losses\.kd\.begin must not be negative'),
    ('losses.kd.begin', None, r'losses\.kd\.begin=None is a NoneType, expected an integer'),
    ('losses.kd.end', 1.0, r'losses\.kd\.end=1\.0 is a float, expected an integer'),
    ('losses.kd.end', -1, r'losses\.kd\.end must not be negative'),
    ('losses.kd.by_epoch', 'no', r"losses\.kd\.by_epoch='no' is a str, expected True or False"),
    ('losses.kd.by_epoch', 1, r'losses\.kd\.by_epoch=1 is a int, expected True or False'),
    ('losses.kd.student', 3, r'losses\.kd\.student is 3, expected a tap or a list of taps'),
    ('losses.kd.student', '', r"losses\.kd\.student is '', expected a tap or a list of taps"),
    ('losses.kd.student', [], r'losses\.kd\.student is \[\], expected a tap or a list of taps'),
    ('losses.kd.student', [3], r'losses\.kd\.student is \[3\], expected a tap or a list of taps'),
    ('losses.kd.student', ['head.fc', ''], r'losses\.kd\.student is .*expected a tap or a list'),
    ('losses.kd.student', GONE, r'losses\.kd\.student is missing, expected a tap'),
    ('losses.kd.teacher', GONE, r'losses\.kd\.teacher is missing, expected a tap'),
    ('losses.kd.student', dict(a=1), r'losses\.kd\.student\.a=1 is unknown: View takes tap, to'),
    ('losses.kd.student', ['head.fc'] * 2, r'losses\.kd .*gives 2 tensor\(s\).*same number of le'),
    ('losses.kd.student', 'head.fcc', r"losses\.kd: tap 'head.fcc'.*nearest names: head.fc"),
    ('losses.kd.student', 'head fc', r"losses\.kd: tap 'head fc' cannot be read; expected a mod"),
    ('losses.kd.student', 'head.fc[0]', r"tap 'head\.fc\[0\]': there is no element \[0\]"),
    ('losses.kd.student', 'head.fc@3', r"losses\.kd: tap 'head\.fc@3': there is no call @3"),
    ('losses.kd.student', 'backbone.layer2', r'losses\.kd .*takes logits'),
    ('losses.kd.teacher', 'a:head.fc', r"losses\.kd: tap 'a:head\.fc' cannot be read"),
    ('losses.kd.type', 'NoSuchLoss', r"losses\.kd\.type='NoSuchLoss' is not registered"),
    ('losses.kd.type', 'HintLos', r"losses\.kd\.type='HintLos' is not registered; nearest: HintL"),
    ('losses.kd.type', 'BEEDLoss', r"type='BEEDLoss' is BEEDLoss, expected a subclass of mmkd"),
    ('losses.kd.type', 3, r'losses\.kd\.type=3 is 3, expected a subclass of mmkd\.losses\.Disti'),
    ('losses.kd.type', GONE, r"losses\.kd\.type is missing, found \['student', 'teacher'\]"),
    ('losses', {}, r'model\.losses=\{\} has no term, so the teacher would teach nothing'),
    ('losses', None, r'model\.losses=None is a NoneType, expected a dict of terms'),
    ('losses', [KD], r'model\.losses=.* is a list, expected a dict of terms'),
    ('losses', 'kd', r"model\.losses='kd' is a str, expected a dict of terms"),
    ('losses.kd', None, r'losses\.kd=None is a NoneType, expected a dict'),
    ('losses.kd', 3, r'losses\.kd=3 is a int, expected a dict'),
    ('losses.kd', {}, r'losses\.kd\.type is missing, found \[\]'),
    ('losses.keys', KD, r"a term called 'keys', which cannot be an attribute.*another name"),
    ('losses.training', KD, r"a term called 'training', which cannot be an attribute"),
    ('losses', {'a.b': KD}, r"a term called 'a\.b', which cannot be an attribute"),
    ('losses', {'': KD}, r"a term called '', which cannot be an attribute"),
    ('losses', {3: KD}, r'a term called 3, which cannot be an attribute'),
    (
        'losses.kd',
        dict(type='HintLoss', **FC, loss_weigth=1),
        r'loss_weigth=1 is unknown',
    ),
    (
        'losses.kd',
        dict(type='CRDLoss', student='head.fc:input', teacher='head.fc:input', num_data=10**13),
        r'losses\.kd: .*',
    ),
    (
        'losses.kd',
        dict(type='CRDLoss', student='head.fc:input', teacher='head.fc:input', num_data='9'),
        r"losses\.kd\.num_data='9' is a str, expected an integer",
    ),
    (
        'losses.kd',
        dict(type='ReviewKDLoss', student=LAYERS[::-1], teacher=LAYERS),
        r'losses\.kd .*from shallow to deep, found student heights',
    ),
    (
        'losses.kd',
        dict(type='ReviewKDLoss', student=LAYERS, teacher=LAYERS[::-1]),
        r'losses\.kd .*from shallow to deep, found teacher heights',
    ),
    ('student_loss_weight', NAN, r'model\.student_loss_weight=nan, expected a finite number'),
    ('student_loss_weight', -1, r'model\.student_loss_weight=-1 is negative, expected 0 or more'),
    ('student_loss_weight', '1', r"model\.student_loss_weight='1' is a str, expected a number"),
    ('student', 3, r'model\.student=3 is a int, expected a dict'),
    ('student', None, r'model\.student=None is a NoneType, expected a dict'),
    ('student', {}, r'model\.student\.type is missing'),
    ('student.type', 'Nope', r'Nope is not in the mmpretrain::model registry'),
    ('student.backbone.depht', 18, r"ResNet_CIFAR cannot be built.*argument 'depht'"),
    ('student.head.num_classes', 'ten', r'LinearClsHead cannot be built as the config says'),
    ('student.head.num_classes', 20, r'losses\.kd .*must predict the same classes'),
    ('student.head.in_channels', 9, r'the dry forward of the student .* failed: mat1 and mat2'),
    ('teacher', 3, r'model\.teacher=3 is a int, expected dict\(config=\.\.\., checkpoint=\.\.\.\)'),
    ('teacher', None, r'give either model\.teacher or model\.teachers'),
    ('teacher', {}, r"model\.teacher: .*'config'"),
    ('teachers', dict(a=3), r'give either model\.teacher or model\.teachers'),
    ('teacher.config', 'nope.py', r"model\.teacher\.config: there is no file 'nope\.py'"),
    ('teacher.config', 'mmpretrain::nope.py', r"config: there is no config 'mmpretrain::nope.py'"),
    ('teacher.config', 3, r'model\.teacher\.config=3 is a int, expected a dict: a config file'),
    ('teacher.config', {}, r'model\.teacher\.config\.type is missing'),
    ('teacher.checkpoint', 'n.pth', r"model\.teacher\.checkpoint: there is no file 'n\.pth'; set"),
    ('teacher.checkpoint', 3, r'model\.teacher\.checkpoint=3, expected the path of a file'),
    ('teacher.checkpoint', GONE, r'model\.teacher\.checkpoint is missing'),
    ('teacher.chekpoint', 'a', r"model\.teacher: .*'chekpoint'"),
    ('input_shape', 3, r'model\.input_shape=3, expected channels, height and width'),
    ('input_shape', 'abc', r"model\.input_shape='abc', expected channels, height and width"),
    ('input_shape', (3, 0, 8), r'model\.input_shape=\(3, 0, 8\), expected channels, height and'),
    ('input_shape', (3, 64), r'model\.input_shape=\(3, 64\), expected channels, height and width'),
    ('input_shape', (1, 64, 64), r'the dry forward of the student .* failed'),
    ('losess', 1, r"OfflineDistiller cannot be built.*unexpected keyword argument 'losess'"),
    ('type', 'mmkd.Nope', r'mmkd\.Nope is not in the mmkd::model registry'),
]


def put(cfg, key, value):
    """Set ``key`` in nested dicts, or remove it."""
    *parents, last = key.split('.')
    for parent in parents:
        cfg = cfg[parent]
    if value is GONE:
        del cfg[last]
    else:
        cfg[last] = value


def check_sentence(error, pattern):
    assert is_explained(error), repr(error)
    text = sentence(error)
    assert '\n' not in text
    assert re.search(pattern, text), text


@pytest.fixture(scope='module')
def teacher_file(tmp_path_factory):
    """Weights of the fixture ``classifier``, written once."""
    return tmp_path_factory.mktemp('teacher') / 'teacher.pth'


@pytest.fixture
def distiller(classifier, teacher_file):
    cfg = classifier.to_dict()
    if not teacher_file.exists():
        torch.save(MODELS.build(copy.deepcopy(cfg)).state_dict(), teacher_file)
    return dict(
        type='mmkd.OfflineDistiller',
        student=copy.deepcopy(cfg),
        teacher=dict(config=cfg, checkpoint=str(teacher_file)),
        losses=dict(kd=copy.deepcopy(KD)),
    )


@pytest.mark.parametrize(('key', 'value', 'pattern'), MODEL)
def test_a_distiller_refuses(distiller, key, value, pattern):
    MODELS.build(copy.deepcopy(distiller))
    put(distiller, key, copy.deepcopy(value) if value is not GONE else value)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        MODELS.build(distiller)
    check_sentence(caught.value, pattern)


#: What stands in a config that inherits configs/demo/digits_student.py, and the sentence.
RUN = [
    ('model = None', r'model is None, expected model=dict\(type='),
    ('model = 3', r'model is 3, expected model=dict\(type='),
    ("model = dict(type='Nope')", r'Nope is not in the mmpretrain::model registry'),
    ("optim_wrapper = dict(optimizer=dict(lr=float('nan')))", r'optim_wrapper\.optimizer\.lr=nan'),
    ("optim_wrapper = dict(optimizer=dict(lr=float('inf')))", r'optim_wrapper\.optimizer\.lr=inf'),
    (
        "optim_wrapper = dict(optimizer=dict(momentum=float('nan')))",
        r'optimizer\.momentum=nan',
    ),
    (
        'optim_wrapper = dict(optimizer=dict(lr=-0.1))',
        r'SGD cannot be built.*Invalid learning',
    ),
    ("optim_wrapper = dict(optimizer=dict(lr='0.1'))", r'SGD cannot be built as the config says'),
    ('optim_wrapper = dict(optimizer=dict(weight_decay=-1))', r'Invalid weight_decay value: -1'),
    ("optim_wrapper = dict(optimizer=dict(type='Nope'))", r"optimizer\.type='Nope' is not reg"),
    ('optim_wrapper = dict(optimizer=dict(nesterof=True))', r"SGD cannot be built.*'nesterof'"),
    ('optim_wrapper = None', r'optim_wrapper is None, expected optim_wrapper=dict\(optimizer='),
    ('optim_wrapper = dict(accumulative_counts=0)', r'accumulative_counts=0, expected an integer'),
    (
        "train_cfg = dict(max_epochs='abc')",
        r"train_cfg\.max_epochs='abc', expected an int",
    ),
    ('train_cfg = dict(max_epochs=-1)', r'train_cfg\.max_epochs=-1, expected an integer of 1 or m'),
    ('train_cfg = dict(max_epochs=0)', r'train_cfg\.max_epochs=0, expected an integer of 1 or mo'),
    ('train_cfg = dict(max_epochs=1.5)', r'train_cfg\.max_epochs=1\.5, expected an integer'),
    ('train_cfg = dict(max_epochs=True)', r'train_cfg\.max_epochs=True, expected an integer'),
    ('train_cfg = dict(val_interval=0)', r'train_cfg\.val_interval=0, expected an integer of 1'),
    ("train_cfg = dict(val_interval='a')", r"train_cfg\.val_interval='a', expected an integer"),
    ('train_cfg = None', r'train_cfg is None, expected train_cfg=dict\(by_epoch=True'),
    ('train_dataloader = None', r'train_dataloader is None, expected train_dataloader=dict'),
    ('train_dataloader = dict(batch_size=0)', r'train_dataloader\.batch_size=0, expected an integ'),
    ('train_dataloader = dict(batch_size=-4)', r'train_dataloader\.batch_size=-4, expected an'),
    ("train_dataloader = dict(batch_size='a')", r"train_dataloader\.batch_size='a', expected an"),
    ('train_dataloader = dict(num_workers=-1)', r'train_dataloader\.num_workers=-1, expected an'),
    ('val_dataloader = dict(batch_size=0)', r'val_dataloader\.batch_size=0, expected an integer'),
    ("train_dataloader = dict(dataset=dict(type='Nope'))", r'Nope is not in the mmpretrain::data'),
    ("train_dataloader = dict(dataset=dict(split='no'))", r"split.*'no'"),
    (
        "train_dataloader = dict(dataset=dict(pipeline=[dict(type='Nope')]))",
        r'Nope is not in the mmpretrain::transform registry',
    ),
    ("val_evaluator = dict(type='Nope')", r'Nope is not in the mmpretrain::metric registry'),
    ('val_evaluator = None', r'val_evaluator'),
    ('val_dataloader = None', r'val_dataloader'),
    ("default_hooks = dict(nope=dict(type='Nope'))", r'Nope is not in the mmpretrain::hook regist'),
    (
        "custom_hooks = [dict(type='mmkd.PretrainHook', losses='kd', length=1)]",
        r"PretrainHook\.losses must be a list of names, found 'kd'",
    ),
    (
        "custom_hooks = [dict(type='mmkd.PretrainHook', losses=['kd'], length=0)]",
        r'PretrainHook\.length must be positive, found 0',
    ),
    ("param_scheduler = dict(_delete_=True, type='Nope')", r'Nope is not in the .*scheduler regis'),
    ("randomness = dict(seed='a')", r"randomness\.seed='a', expected an integer of 0 or more"),
    ("load_from = 'nope.pth'", r'nope\.pth'),
    ('compile = 3', r'compile=3, expected True, False or a dict'),
    ("compile = dict(bakend='eager')", r"compile\.bakend='eager' is unknown: .*nearest: backend"),
    ("compile = dict(backend='nope')", r"compile\.backend='nope' is unknown, expected one"),
]
#: Options of the command line, with the same config.
OPTIONS = [
    (['--cfg-options', 'train_cfg.max_epochs=abc'], r"train_cfg\.max_epochs='abc', expected an"),
    (['--cfg-options', 'train_dataloader.batch_size=0'], r'train_dataloader\.batch_size=0'),
    (
        ['--cfg-options', 'modle.head=1'],
        r"--cfg-options modle\.head: .*no key 'modle'; nea",
    ),
    (['--resume', 'nope.pth'], r'nope\.pth'),
    (['--auto-scale-lr'], r'--auto-scale-lr: set auto_scale_lr'),
    (['--launcher', 'slurm'], r'--launcher slurm.*SLURM_PROCID'),
    (['--launcher', 'mpi'], r'--launcher mpi.*OMPI_COMM_WORLD_LOCAL_RANK'),
    (['--launcher', 'pytorch'], r'--launcher pytorch.*RANK'),
]


@pytest.fixture
def never_steps(monkeypatch):
    def step(*args, **kwargs):
        pytest.fail('a step was taken')

    monkeypatch.setattr(OptimWrapper, 'update_params', step)


@pytest.fixture
def trained(tmp_path, never_steps):
    """What training with a line of config more, or options, ends with."""

    def run(line='', options=(), base='digits_student'):
        config = tmp_path / 'config.py'
        base_file = str(Path('configs/demo', base + '.py').resolve())
        # Loggers and visualizers are found by name, also those of an earlier test and its folder.
        name = f'experiment_name = {tmp_path.name!r}\nvisualizer = dict(name={tmp_path.name!r})'
        config.write_text(f'_base_ = {base_file!r}\n{name}\n{line}')
        with pytest.raises((Exception, SystemExit)) as caught:
            train.main([str(config), '--work-dir', str(tmp_path / 'work'), *options])
        assert not list(tmp_path.glob('work/*.pth'))
        return caught.value

    return run


@pytest.mark.parametrize(('line', 'pattern'), RUN)
def test_training_refuses(trained, line, pattern):
    check_sentence(trained(line), pattern)


def test_compiling_needs_a_compiler(trained, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch._inductor.config.cpp, 'cxx', (None, 'no-compiler'))
    check_sentence(trained('compile = True'), r'compile=True .* no compiler no-compiler; install')


@pytest.mark.parametrize(('options', 'pattern'), OPTIONS)
def test_training_refuses_an_option(trained, monkeypatch, options, pattern):
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_LOCAL_RANK'):
        monkeypatch.delenv(name, raising=False)
    check_sentence(trained(options=options), pattern)


#: Arguments of `mmkd`, and the last line that it prints. CONFIG is digits_kd with its teacher.
COMMANDS = [
    (['train', 'nope.py'], r"CONFIG: there is no file 'nope\.py'"),
    (['train', 'mmkd::nope.py'], r"CONFIG: there is no config 'mmkd::nope\.py'"),
    (['train', 'CONFIG', '--resume', 'nope.pth'], r"--resume: there is no file 'nope\.pth'"),
    (
        ['train', 'CONFIG', '--resume', 'TEACHER'],
        r'--resume: .* has no state_dict and no meta and no message_hub',
    ),
    (['train', 'CONFIG', '--launcher', 'slurm'], r'--launcher slurm: .*no SLURM_PROCID'),
    (['train', 'CONFIG', '--cfg-options', 'model.losses.kd.tau=-1'], r'losses\.kd: .*found tau=-1'),
    (
        ['train', 'CONFIG', '--cfg-options', 'model.losses.kd.loss_weight=a'],
        r"='a' is a str",
    ),
    (['train', 'CONFIG', '--cfg-options', 'model.losses.kd.begin=30'], r'begin=30 epochs, but the'),
    (['train', 'CONFIG', '--cfg-options', 'model.student.head.num_classes=7'], r'the same classes'),
    (['train', 'CONFIG', '--cfg-options', 'model.losses.kd=3'], r'losses\.kd=3 is a int, expected'),
    (
        ['train', 'CONFIG', '--cfg-options', 'train_cfg.max_epochs=0'],
        r'max_epochs=0, expected',
    ),
    (['test', 'CONFIG', 'nope.pth'], r"CHECKPOINT: there is no file 'nope\.pth'"),
    (['export', 'CONFIG', 'TEACHER', 'OUT'], r"no weights under 'student\.'"),
]


@pytest.mark.full
@pytest.mark.parametrize(('arguments', 'pattern'), COMMANDS)
def test_a_user_sees_one_sentence_and_exit_code_1(tmp_path, arguments, pattern):
    teacher = Config.fromfile('configs/demo/digits_teacher.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(plain_model(teacher))
    torch.save(model.state_dict(), tmp_path / 'teacher.pth')
    (tmp_path / 'config.py').write_text(
        f"_base_ = 'mmkd::demo/digits_kd.py'\n"
        f'model = dict(teacher=dict(checkpoint={str(tmp_path / "teacher.pth")!r}))\n'
    )
    places = dict(CONFIG='config.py', TEACHER='teacher.pth', OUT='student.pth')
    done = subprocess.run(
        [sys.executable, '-m', 'mmkd', *(places.get(word, word) for word in arguments)],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    assert re.search(pattern, done.stderr.splitlines()[-1])
    assert 'Epoch(train)' not in done.stdout + done.stderr
    assert not [*tmp_path.rglob('epoch_*.pth'), *tmp_path.rglob('student*')]
