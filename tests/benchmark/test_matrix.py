"""Matrix files: those of the tree can be run as they are, and a wrong one is refused by name."""

from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config, DictAction

from mmkd.benchmark.matrix import read_matrix
from mmkd.benchmark.runs import all_runs
from mmkd.cli.train import apply_training_options, parse_args
from mmkd.engine.config import read_config

ROOT = Path(__file__).parents[2]
MATRICES = [
    # Reading the configs takes 10 seconds for all of the others.
    pytest.param(path, id=path.stem, marks=[] if 'demo' in path.stem else pytest.mark.full)
    for path in sorted((ROOT / 'configs/benchmark').glob('*.py'))
]


@cache
def config(name):
    return read_config(name, 'CONFIG')


def has(cfg, key):
    """Whether a config has a key of ``--cfg-options``."""
    for part in key.split('.'):
        if isinstance(cfg, list):
            cfg = cfg[int(part)] if int(part) < len(cfg) else None
        elif cfg is not None:
            cfg = cfg.get(part)
    return cfg is not None


#: Options that add what the configs leave to a default.
NEW = (
    'train_dataloader.dataset.per_class',
    'train_dataloader.persistent_workers',
    'default_hooks.device_augment.type',
    'model.objective.beta',
    'model.objective.gamma',
    'model.objective.schedules',
    'model.losses.kd.warmup',
)


@pytest.mark.parametrize('path', MATRICES)
def test_every_option_sets_what_its_config_has(path):
    for row in read_matrix(str(path)).all_rows.values():
        cfg = config(row.config)
        assert cfg.get('default_hooks', {}).get('publish'), row.name
        for key in row.options:
            assert has(cfg, key) or key.startswith(NEW), f'{row.name}: {key}'
        assert (row.teacher is not None) == has(cfg, row.teacher_key), row.name


@pytest.mark.parametrize('path', MATRICES)
def test_learning_rates_end_with_the_training(path):
    for row in read_matrix(str(path)).all_rows.values():
        options = {key: DictAction._parse_iterable(text) for key, text in row.options.items()}
        cfg = Config(config(row.config).to_dict())
        cfg.merge_from_dict(options)
        schedulers = cfg.param_scheduler
        last = schedulers[-1] if isinstance(schedulers, list) else schedulers
        assert last.get('T_max', last.get('end')) == cfg.train_cfg.max_epochs, row.name


def test_the_commands_are_those_that_mmkd_train_takes(tmp_path):
    matrix = read_matrix('mmkd::benchmark/cifar10_offline.py')
    runs = all_runs(matrix, tmp_path, ['crd'])
    assert [run.folder.name for run in runs] == ['resnet20', *(f'crd_seed{s}' for s in range(5))]
    command, *arguments = runs[2].training()
    assert command == 'train'
    args = parse_args(arguments)
    cfg = config(args.config)
    cfg = Config(cfg.to_dict())
    cfg.merge_from_dict(args.cfg_options)
    apply_training_options(cfg, args)
    assert cfg.randomness.seed == 1
    assert cfg.model.losses.crd.num_data == 10000
    assert cfg.train_dataloader.dataset.per_class == 1000
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].T_max == 15
    assert cfg.model.teacher.checkpoint == str(tmp_path / 'resnet20/LAST.pth')


GOOD = """
title = 'T'
metrics = [dict(key='accuracy/top1', label='top-1')]
seeds = [0, 1]
options = {'a.b': 1}
teachers = dict(big=dict(label='big', config='big.py'))
rows = dict(
    alone=dict(label='alone', config='small.py'),
    kd=dict(label='kd', config='kd.py', options={'a.c': [1, (2, 'x')]}, teacher='big',
            control='alone'))
"""
WRONG = [
    ("title = 'T'", "title = ''", 'has no title'),
    ("title = 'T'", "titel = 'T'", "key 'titel'; expected title"),
    ("control='alone'", "control='lone'", r"rows\.kd\.control='lone'; expected one of"),
    ("control='alone'", "control='kd'", r"rows\.kd\.control='kd'; expected one of"),
    ("teacher='big'", "teacher='alone'", r"rows\.kd\.teacher='alone'; expected one of \['big'\]"),
    ('[0, 1]', '[0, 0]', r'seeds=\[0, 0\], expected different whole numbers'),
    ('[0, 1]', '[]', r'seeds=\[\], expected'),
    ("config='small.py'", "confg='small.py'", "key 'confg'; expected config"),
    ("{'a.b': 1}", "{'a': dict(b=1)}", "name the keys inside it, as in 'key.subkey'"),
    ('big=dict(label', 'alone=dict(label', 'alone is a teacher and a row'),
    ("config='big.py'", "config='big.py', seeds=[0]", r"teachers\.big has the key 'seeds'"),
    ('rows = dict(', 'rows = dict(x=3,', r'rows\.x is 3, expected a dict with label, config'),
]


@pytest.mark.parametrize(('part', 'wrong', 'said'), WRONG)
def test_a_wrong_file_is_refused(tmp_path, part, wrong, said):
    assert part in GOOD
    (tmp_path / 'm.py').write_text(GOOD.replace(part, wrong))
    with pytest.raises(ValueError, match=said):
        read_matrix(str(tmp_path / 'm.py'))


def test_options_are_text_as_the_command_line_reads_it_and_those_of_a_row_come_on_top(tmp_path):
    (tmp_path / 'm.py').write_text(GOOD)
    matrix = read_matrix(str(tmp_path / 'm.py'))
    options = matrix.rows['kd'].options
    assert options == {'a.b': '1', 'a.c': '[1,(2,x)]'}
    assert DictAction._parse_iterable(options['a.c']) == [1, (2, 'x')]
    # Those of the matrix are not a teacher's.
    assert matrix.teachers['big'].options == {}
    with pytest.raises(ValueError, match='--only nope: expected one of big, alone, kd'):
        all_runs(matrix, tmp_path, ['nope'])
