"""Every config of the tree builds its model; ``make test-all`` also trains and evaluates it."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmkd.publish import is_distiller, plain_config
from mmkd.registry import MODELS

CONFIGS = Path(__file__).parents[1] / 'configs'
NAMES = sorted(
    str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts
)


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    if is_distiller(cfg.model):
        teachers = cfg.model.get('teachers') or {'': cfg.model.teacher}
        for teacher in teachers.values():
            teacher.checkpoint = 'a file that the test does not read'
    return cfg


@pytest.fixture
def no_weights(monkeypatch):
    """Let teachers keep the weights they are built with."""
    monkeypatch.setattr('mmkd.distillers.teacher.load_plain', lambda *args: None)


@pytest.mark.parametrize('name', NAMES)
def test_config_builds_its_model_and_a_plain_student(name, no_weights):
    cfg = load(name)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        preprocessor = cfg.get('data_preprocessor')
        if preprocessor is not None:
            cfg.model.setdefault('data_preprocessor', preprocessor)
        model = MODELS.build(cfg.model)
        if not is_distiller(cfg.model):
            return
        student = MODELS.build(plain_config(cfg).model)
    assert student.state_dict().keys() == model.student.state_dict().keys()
    assert model.terms


def shrink_detection(cfg, folder):
    """Tiny COCO-format data, tiny images, two iterations."""
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.data_root = f'{folder}/'
        for transform in dataset.pipeline:
            if transform.type == 'Resize':
                transform.scale = (96, 64)
        cfg[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.ann_file = f'{folder}/annotations/instances_val2017.json'
    cfg.train_cfg.update(max_iters=2, val_interval=2)


def shrink_classification(cfg):
    """Digits in place of CIFAR-100, two iterations, one epoch."""
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        resize = dict(type='Resize', scale=32)
        loader.dataset = dict(
            type='mmkd.Digits',
            split='train' if split == 'train' else 'test',
            indices=16,
            pipeline=[resize, *loader.dataset.pipeline],
        )
        loader.update(batch_size=8, num_workers=0, persistent_workers=False)
    cfg.train_cfg.update(max_epochs=1)
    for term in cfg.model.get('losses', {}).values():
        if 'warmup' in term:
            term.warmup = 1


@pytest.mark.full
@pytest.mark.parametrize('name', [n for n in NAMES if not n.startswith('demo')])
def test_config_trains_and_evaluates(name, no_weights, coco_folder, tmp_path):
    cfg = load(name)
    model = cfg.model.student if is_distiller(cfg.model) else cfg.model
    if model.backbone.get('init_cfg'):
        model.backbone.init_cfg = None
    if cfg.default_scope == 'mmdet':
        shrink_detection(cfg, coco_folder)
    else:
        shrink_classification(cfg)
    cfg.work_dir = str(tmp_path)
    cfg.experiment_name = name.replace('/', '_')
    runner = Runner.from_cfg(cfg)
    runner.train()
    history = runner.message_hub.log_scalars
    for term in getattr(runner.model, 'terms', ()):
        assert np.isfinite(history[f'train/{term.key}'].data[0]).all()
    assert runner.iter >= 2
    assert (tmp_path / 'student.pth').exists() == is_distiller(cfg.model)
