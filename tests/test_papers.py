"""``docs/papers.md``: the configs it names exist and resolve to what stands beside them."""

import argparse
import copy
import functools
import importlib.util
import inspect
import itertools
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import DictAction
from mmengine.registry import PARAM_SCHEDULERS

from mmkd.cli.launch import add_common_arguments, load_config
from mmkd.registry import MODELS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'papers.md'


def cells(line):
    return [cell.strip() for cell in line.strip().strip('|').split('|')]


def tables():
    """Rows of all tables of the page, as dicts."""
    lines = PAGE.read_text().splitlines()
    header, rows = None, []
    for line, following in itertools.pairwise([*lines, '']):
        if not line.startswith('|'):
            header = None
        elif following.startswith('| ---'):
            header = cells(line)
        elif header and not line.startswith('| ---'):
            rows.append(dict(zip(header, cells(line), strict=True)))
    return rows


def quoted(cell):
    """What stands in backquotes, in words."""
    return ' '.join(re.findall('`([^`]*)`', cell)).split()


def expand(name):
    """``a{b,c}`` as ``ab`` and ``ac``."""
    match = re.search(r'\{([^{}]*)\}', name)
    if match is None:
        return [name]
    parts = match[1].split(',')
    return [n for p in parts for n in expand(name[: match.start()] + p + name[match.end() :])]


ROWS = [row for row in tables() if 'config' in row]
SETTINGS = {row['setting']: row for row in tables() if 'lr' in row}
SHORT = {row['short'].strip('`'): quoted(row['options']) for row in tables() if 'short' in row}
NAMED = [(row, [n for name in quoted(row['config']) for n in expand(name)]) for row in ROWS]


def option_words(row):
    return [o for word in quoted(row['options']) for o in SHORT.get(word, [word])]


@functools.cache
def resolve(name, options):
    """The config that ``tools/train.py`` would run."""
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    add_common_arguments(parser)
    words = ['--cfg-options', *options] if options else []
    return load_config(parser.parse_args([f'{ROOT}/configs/{name}.py', *words]))


def value(cfg, key):
    """A key of a config, or the default of the class that its dict builds."""
    *path, last = key.split('.')
    for part in path:
        cfg = cfg[int(part)] if isinstance(cfg, (list, tuple)) else cfg[part]
    if last in cfg:
        return cfg[last]
    return inspect.signature(MODELS.get(cfg['type']).__init__).parameters[last].default


def check(name, row):
    cfg = resolve(name, tuple(option_words(row)))
    for word in quoted(row['values']):
        key, _, stated = word.partition('=')
        assert value(cfg.model, key) == DictAction._parse_iterable(stated), word
    if not row['setting']:
        return
    stated, optimizer = SETTINGS[row['setting']], cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.momentum) == ('SGD', 0.9)
    assert optimizer.lr == float(stated['lr'])
    assert optimizer.weight_decay == float(stated['weight decay'])
    assert bool(optimizer.get('nesterov')) == (stated['nesterov'] == 'yes')
    epochs = cfg.train_cfg.get('max_epochs', cfg.train_cfg.get('max_iters'))
    assert epochs == int(stated['epochs'])
    batch = int(stated['batch'])
    assert cfg.auto_scale_lr.base_batch_size == batch
    # CIFAR on one GPU, ImageNet and COCO on four.
    gpus = 4 if batch == 256 or 'max_iters' in cfg.train_cfg else 1
    assert cfg.train_dataloader.batch_size * gpus == batch
    schedulers = cfg.param_scheduler
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    if stated['milestones'] == 'cosine':
        (cosine,) = schedulers
        assert (cosine.type, cosine.T_max) == ('CosineAnnealingLR', epochs)
        return
    (steps,) = (s for s in schedulers if s.type == 'MultiStepLR')
    assert list(steps.milestones) == [int(m) for m in stated['milestones'].split()]
    assert steps.gamma == float(stated['gamma'])


def test_the_page_is_read():
    assert len(ROWS) > 100
    assert len(SETTINGS) == 14
    assert expand('{a,b}_{c,d}') == ['a_c', 'a_d', 'b_c', 'b_d']


def test_rows_without_a_config_say_why():
    for row, names in NAMED:
        assert names or row['what differs'].startswith('not here'), row
        assert row['setting'] in ('', *SETTINGS), row


def test_configs_exist():
    missing = [n for _, names in NAMED for n in names if not (ROOT / f'configs/{n}.py').is_file()]
    assert not missing


@pytest.mark.parametrize('setting', ['', *SETTINGS])
def test_the_first_config_of_a_row_resolves_to_what_is_stated(setting):
    rows = [(row, names) for row, names in NAMED if row['setting'] == setting and names]
    for row, names in rows:
        if setting or row['values']:
            check(names[0], row)


@pytest.mark.full
@pytest.mark.parametrize(
    ('row', 'names'), NAMED, ids=[f'{i}-{row["row"]}' for i, row in enumerate(ROWS)]
)
def test_every_config_of_a_row_resolves_to_what_is_stated(row, names):
    for name in names:
        check(name, row)


@functools.cache
def stepping():
    """The module that steps configs; tests are no package."""
    spec = importlib.util.spec_from_file_location('configs', ROOT / 'tests' / 'test_configs.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.full
@pytest.mark.parametrize(
    ('row', 'name'),
    [(row, name) for row, names in NAMED if quoted(row['options']) for name in names],
)
def test_options_train_and_evaluate(row, name, coco_folder, tmp_path, monkeypatch):
    monkeypatch.setattr('mmkd.distillers.teacher.load_plain', lambda *args: {})
    cfg = copy.deepcopy(resolve(name, tuple(option_words(row))))
    stepping().step(cfg, f'{name} {row["row"]}', coco_folder, tmp_path)


def rates(options, epochs):
    """Learning rates of the first epochs, over the initial one."""
    cfg = resolve('ecd/resnet110_cifar100', options)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedulers = [
        PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=optimizer))
        for scheduler in copy.deepcopy(cfg.param_scheduler)
    ]
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return found


def test_ecd_warms_up_by_options_only():
    steps = [1.0] * 100 + [0.1] * 50 + [0.01] * 50
    assert rates((), 200) == pytest.approx(steps)
    (row,) = (row for row in ROWS if row['row'] == 'Table 1, warm-up')
    steps[:5] = [0.1, 0.325, 0.55, 0.775, 1.0]
    assert rates(tuple(option_words(row)), 200) == pytest.approx(steps)


def test_a_wrong_value_is_found():
    row = dict(ROWS[0], values='`head.num_classes=10`')
    with pytest.raises(AssertionError):
        check('baseline/resnet20_ecd_cifar100', row)
    with pytest.raises(AssertionError):
        check('baseline/resnet20_cifar100', ROWS[0])
