"""Every config of the tree builds its model; ``make test-all`` also trains and evaluates it."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from sync import no_waiting

from mmkd.publish import distiller, num_students, plain_config, published_path
from mmkd.registry import MODELS

CONFIGS = Path(__file__).parents[1] / 'configs'
NAMES = sorted(
    str(path.relative_to(CONFIGS))
    for path in CONFIGS.rglob('*.py')
    # In `benchmark` are matrices of configs.
    if not {'_base_', 'benchmark'} & {*path.parts}
)

#: Folders of the classification methods with a frozen teacher.
OFFLINE = (
    *('ab', 'at', 'cc', 'crd', 'dist', 'dkd', 'fitnet', 'fsp', 'ft', 'kd', 'nst', 'ofd', 'pkt'),
    *('reviewkd', 'rkd', 'sp', 'vid'),
)


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    for teacher in teachers(cfg):
        if 'factory' in teacher.config:
            pytest.importorskip(teacher.config.factory.partition('.')[0])
            assert teacher.config.arguments.pretrained
            teacher.config.arguments.pretrained = False
        else:
            check_weights(teacher.config, teacher.get('checkpoint'))
        teacher.checkpoint = 'a file that the test does not read'
    return cfg


def teachers(cfg):
    of_model = [cfg.model.get('teacher'), *(cfg.model.get('teachers') or {}).values()]
    return [teacher for teacher in of_model if teacher]


@cache
def check_weights(config, checkpoint):
    """A teacher has published weights, or the file that training its config leaves."""
    if checkpoint is None:
        assert get_config(config, pretrained=True).model_path.startswith('https://')
        return
    cfg, folder = Config.fromfile(config), Path(config).stem
    assert checkpoint in (
        f'work_dirs/{folder}/epoch_{cfg.train_cfg.max_epochs}.pth',
        # Where a result page or the demo says so.
        f'work_dirs/{Path(config).parent.name}/{folder}/epoch_{cfg.train_cfg.max_epochs}.pth',
    )
    assert cfg.default_hooks.checkpoint.get('by_epoch', True)
    assert cfg.default_hooks.checkpoint.get('save_last', True)


def test_a_config_with_hints_names_the_form_of_the_regressor():
    files = [path for path in CONFIGS.rglob('*.py') if 'HintLoss' in path.read_text()]
    assert len(files) >= 13
    assert all('regressor=' in path.read_text() for path in files)


@pytest.fixture
def no_weights(monkeypatch):
    """Let teachers keep the weights they are built with."""
    monkeypatch.setattr('mmkd.distillers.teacher.load_plain', lambda *args: {})


@pytest.fixture
def no_random_weights(monkeypatch):
    """Leave out what most of the time of building a large network goes into."""
    for layer in (torch.nn.modules.conv._ConvNd, torch.nn.Linear):
        monkeypatch.setattr(layer, 'reset_parameters', lambda self: None)


@pytest.fixture
def no_convolutions(monkeypatch):
    """Let dry forwards, which are about shapes and gradients, have them without the arithmetic."""
    convolve = torch.nn.Conv2d._conv_forward

    def shape(self, images, weight, bias):
        maps = convolve(self, images.to('meta'), weight.to('meta'), None)
        taught = images.flatten()[:1].sum() * weight.flatten()[:1].sum()
        return images.new_zeros(maps.shape) + taught

    monkeypatch.setattr(torch.nn.Conv2d, '_conv_forward', shape)


@pytest.mark.parametrize('name', NAMES)
def test_config_builds_its_model_and_plain_students(
    name, no_weights, no_random_weights, no_convolutions
):
    cfg = load(name)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        preprocessor = cfg.get('data_preprocessor')
        if preprocessor is not None:
            cfg.model.setdefault('data_preprocessor', preprocessor)
        model = MODELS.build(cfg.model)
        if distiller(cfg) is None:
            return
        students = [
            MODELS.build(plain_config(cfg, index).model) for index in range(num_students(cfg))
        ]
    keys = model.state_dict().keys()
    for index, student in enumerate(students):
        prefixes = ('student.', 'student.model.', f'networks.{index}.model.')
        assert any(all(p + key in keys for key in student.state_dict()) for p in prefixes)


def without_pretrained(cfg):
    """Drop what would be loaded from a file, wherever it stands in a model config."""
    if isinstance(cfg, dict):
        if isinstance(cfg.get('init_cfg'), dict) and cfg['init_cfg'].get('type') == 'Pretrained':
            cfg['init_cfg'] = None
        cfg = cfg.values()
    elif not isinstance(cfg, (list, tuple)):
        return
    for value in cfg:
        without_pretrained(value)


def make_tiny(transform, side):
    """Tiny images from a transform of mmdet, and from those that it chooses from."""
    image = (side * 3 // 2, side)
    for key in ('scale', 'img_scale', 'scales'):
        if key in transform:
            # A list is of scales to choose from.
            several = isinstance(transform[key], list)
            transform[key] = [image] * len(transform[key]) if several else image
    if transform.type == 'RandomCrop':
        transform.crop_size = (side, side)
    if transform.type == 'Pad' and 'size' in transform:
        transform.size = (image[0], image[0])
    for branch in transform.get('transforms', ()):
        for inner in branch:
            make_tiny(inner, side)


def shrink(cfg, folder):
    """A handful of tiny images, two iterations."""
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        dataset = loader.dataset
        scenes = [d for d in dataset.get('datasets', [dataset]) if d.type == 'mmkd.DigitScenes']
        if scenes:
            for part in scenes:
                part.num_images = 4
        elif cfg.default_scope == 'mmdet':
            if dataset.get('metainfo'):
                # The images have COCO's classes.
                cfg.default_hooks.pop('check_data', None)
            part = 'train2017' if split == 'train' else 'val2017'
            dataset.update(
                data_root=f'{folder}/',
                ann_file=f'annotations/instances_{part}.json',
                data_prefix=dict(img=f'{part}/'),
                metainfo=None,
            )
            for transform in dataset.pipeline:
                # As small as the dry forward, which deformable convolutions need larger.
                make_tiny(transform, cfg.model.get('input_shape', (3, 64, 64))[1])
            # A batch for each of at least two steps.
            loader.batch_size = min(loader.batch_size, 2)
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
            # Digits are ten classes.
            cfg.default_hooks.pop('check_data', None)
        loader.update(num_workers=0, persistent_workers=False)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        if isinstance(evaluator, dict) and 'ann_file' in evaluator:
            evaluator.ann_file = f'{folder}/annotations/instances_val2017.json'
    # One epoch ends before they begin.
    if isinstance(cfg.param_scheduler, list):
        cfg.param_scheduler = [s for s in cfg.param_scheduler if not s.get('begin')]
    if 'max_iters' in cfg.train_cfg:
        cfg.train_cfg.update(max_iters=2, val_interval=2)
    else:
        cfg.train_cfg.max_epochs = 1
        if cfg.val_cfg is not None:
            cfg.train_cfg.val_interval = 1
    if 'num_queries' in cfg.model.get('student', {}):
        # A tiny image has fewer positions to select them from.
        cfg.model.student.num_queries = 10
    schedules = cfg.model.get('objective', {}).get('schedules', {})
    for term in [*cfg.model.get('losses', {}).values(), *schedules.values()]:
        if 'warmup' in term:
            term.warmup = 1
        if 'begin' in term:
            term.begin = 0
        # 0 is a term of the phase before training.
        if term.get('end'):
            term.end = None
    for hook in cfg.get('custom_hooks', ()):
        if hook.type == 'mmkd.PretrainHook':
            hook.update(length=1, by_epoch=False)


#: One of each family; ``make test-all`` steps the others too.
FAMILIES = (
    'demo/digits_kd.py',
    'demo/scenes_kd.py',
    'demo/scenes_fitnet.py',
    'demo/scenes_fgfi.py',
    'demo/scenes_mask_reviewkd.py',
    'fgfi/retinanet_r101_r50.py',
    'cifar10_16px/dml_resnet8_resnet14.py',
    'cifar10_16px/dcm_resnet8_resnet14.py',
    'ecd/resnet20_star_cifar100.py',
    'multi_exit/resnet18_beed_cifar100.py',
    'multi_exit/resnet18_byot_cifar100.py',
    'multi_exit/resnet32_one_cifar100.py',
    'multi_exit/wrn_16_4_kd_cifar100.py',
    'multi_exit/msdnet_ce_cifar100.py',
    *(f'{folder}/resnet56_resnet20_cifar100.py' for folder in OFFLINE),
)


@pytest.mark.parametrize(
    'name', [n if n in FAMILIES else pytest.param(n, marks=pytest.mark.full) for n in NAMES]
)
def test_config_trains_and_evaluates(name, no_weights, coco_folder, tmp_path):
    step(load(name), name, coco_folder, tmp_path)


def step(cfg, name, coco_folder, folder):
    """Train and evaluate on next to nothing, with random weights of teachers."""
    for teacher in teachers(cfg):
        teacher.checkpoint = 'a file that the test does not read'
    without_pretrained(cfg.model)
    shrink(cfg, coco_folder)
    cfg.work_dir = str(folder)
    # Loggers and visualizers are found by name, also those of an earlier test and its folder.
    cfg.experiment_name = cfg.visualizer.name = name.replace('/', '_').replace(' ', '_')
    runner = Runner.from_cfg(cfg)
    with no_waiting(runner.model):
        runner.train()
    history = runner.message_hub.log_scalars
    for term in getattr(runner.model, 'terms', ()):
        assert np.isfinite(history[f'train/{term.key}'].data[0]).all()
    assert runner.iter >= 1
    for index in range(num_students(cfg)):
        path = published_path(folder / 'student.pth', index)
        assert path.exists() == (distiller(cfg) is not None)
    if distiller(cfg) is not None and cfg.default_hooks.checkpoint.get('save_best'):
        best = torch.load(folder / 'best_student.pth')['state_dict']
        assert best.keys() == torch.load(folder / 'student.pth')['state_dict'].keys()
