"""Every config of the tree builds its model; ``make test-all`` also trains and evaluates it."""

from pathlib import Path

import numpy as np
import pytest
import torch
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


def shrink(cfg, folder):
    """A handful of tiny images, two iterations."""
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        dataset = loader.dataset
        if dataset.type == 'mmkd.DigitScenes':
            dataset.num_images = 4
        elif cfg.default_scope == 'mmdet':
            part = 'train2017' if split == 'train' else 'val2017'
            dataset.update(
                data_root=f'{folder}/',
                ann_file=f'annotations/instances_{part}.json',
                data_prefix=dict(img=f'{part}/'),
                metainfo=None,
            )
            for transform in dataset.pipeline:
                if transform.type == 'Resize':
                    transform.scale = (96, 64)
        else:
            # Digits in place of CIFAR-100.
            loader.dataset = dict(
                type='mmkd.Digits',
                split='train' if split == 'train' else 'test',
                indices=16,
                pipeline=[
                    dict(type='Resize', scale=32),
                    *(t for t in dataset.pipeline if t.type != 'LoadImageFromFile'),
                ],
            )
            loader.batch_size = 8
        loader.update(num_workers=0, persistent_workers=False)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        if 'ann_file' in evaluator:
            evaluator.ann_file = f'{folder}/annotations/instances_val2017.json'
    if 'max_iters' in cfg.train_cfg:
        cfg.train_cfg.update(max_iters=2, val_interval=2)
    else:
        cfg.train_cfg.update(max_epochs=1, val_interval=1)
    for term in cfg.model.get('losses', {}).values():
        if 'warmup' in term:
            term.warmup = 1


#: One of each family; ``make test-all`` steps the others too.
FAMILIES = (
    'demo/digits_kd.py',
    'demo/scenes_kd.py',
    'demo/scenes_fitnet.py',
    'demo/scenes_fgfi.py',
    'demo/scenes_mask_reviewkd.py',
    'fgfi/retinanet_r101_r50.py',
)


@pytest.mark.parametrize(
    'name', [n if n in FAMILIES else pytest.param(n, marks=pytest.mark.full) for n in NAMES]
)
def test_config_trains_and_evaluates(name, no_weights, coco_folder, tmp_path):
    cfg = load(name)
    model = cfg.model.student if is_distiller(cfg.model) else cfg.model
    if model.backbone.get('init_cfg'):
        model.backbone.init_cfg = None
    shrink(cfg, coco_folder)
    cfg.work_dir = str(tmp_path)
    cfg.experiment_name = name.replace('/', '_')
    runner = Runner.from_cfg(cfg)
    runner.train()
    history = runner.message_hub.log_scalars
    for term in getattr(runner.model, 'terms', ()):
        assert np.isfinite(history[f'train/{term.key}'].data[0]).all()
    assert runner.iter >= 1
    assert (tmp_path / 'student.pth').exists() == is_distiller(cfg.model)
    if is_distiller(cfg.model) and cfg.default_hooks.checkpoint.get('save_best'):
        best = torch.load(tmp_path / 'best_student.pth')['state_dict']
        assert best.keys() == torch.load(tmp_path / 'student.pth')['state_dict'].keys()
