"""Batches of one tensor train as batches of one tensor an image do."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import FUNCTIONS, DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

DATASETS = sorted((Path(__file__).parents[2] / 'configs/_base_/datasets').glob('*.py'))
SPLITS = ('train', 'test')


def classification(path):
    cfg = Config.fromfile(path)
    return cfg if 'num_classes' in cfg.get('data_preprocessor', {}) else None


CONFIGS = {path.stem: cfg for path in DATASETS if (cfg := classification(path))}


def seed():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def batch(loader, preprocessor, training=True):
    """The first batch as the network gets it: images, samples."""
    seed()
    data = preprocessor(next(iter(loader)), training)
    return data['inputs'], data['data_samples']


def assert_same(ours, theirs):
    assert torch.equal(ours[0], theirs[0])
    for one, other in zip(ours[1], theirs[1], strict=True):
        assert one.metainfo == other.metainfo
        assert one.keys() == other.keys()
        assert all(torch.equal(one.get(key), other.get(key)) for key in one.keys())  # noqa: SIM118


def test_every_classification_data_set_is_found():
    assert {'cifar10', 'cifar100', 'cifar100_reflect', 'cifar10_folders', 'imagenet', 'digits'} == {
        *CONFIGS
    }


@pytest.mark.parametrize('name', CONFIGS)
@pytest.mark.parametrize('split', SPLITS)
def test_batches_of_a_config_are_those_of_one_tensor_an_image(name, split):
    cfg = CONFIGS[name]
    loader = cfg[f'{split}_dataloader'].copy()
    assert loader.pop('collate_fn') == dict(type='default_collate')
    steps = [
        t for t in loader.dataset.pipeline if t.type not in ('LoadImageFromFile', 'PackInputs')
    ]
    packed = dict(type='PackInputs', meta_keys=('sample_idx', 'ori_shape'))
    loader.dataset = dict(
        type='mmkd.Digits',
        split='test',
        indices=6,
        pipeline=[dict(type='Resize', scale=32), *steps, packed],
    )
    loader.update(num_workers=0, batch_size=6)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        preprocessor = MODELS.build(dict(type='ClsDataPreprocessor', **cfg.data_preprocessor))
        stacked, apart = (
            batch(
                Runner.build_dataloader({**loader, 'collate_fn': dict(type=collate)}, seed=0),
                preprocessor,
            )
            for collate in ('default_collate', 'pseudo_collate')
        )
    assert_same(stacked, apart)
    assert {sample.sample_idx for sample in stacked[1]} == set(range(6))


@pytest.mark.parametrize('with_score', [False, True])
@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(to_onehot=True),
        dict(batch_augments=dict(augments=dict(type='Mixup', alpha=1.0))),
        dict(pad_size_divisor=4, pad_value=3),
    ],
    ids=['plain', 'onehot', 'mixup', 'padded'],
)
def test_scores_and_batch_augmentations_are_the_same(with_score, settings):
    def items():
        for i in range(5):
            sample = DataSample(metainfo=dict(sample_idx=i)).set_gt_label(i % 3)
            if with_score:
                sample.set_gt_score(torch.tensor([0.1, 0.2, 0.7]).roll(i))
            image = torch.randint(256, (3, 6, 7), generator=generator, dtype=torch.uint8)
            yield dict(inputs=image, data_samples=sample)

    cfg = dict(num_classes=3, mean=[120.0, 110.0, 100.0], std=[57.1, 58.2, 59.3], to_rgb=True)
    preprocessor = MODELS.build(dict(type='ClsDataPreprocessor', **cfg, **settings))
    found = []
    for collate in ('default_collate', 'pseudo_collate'):
        generator = torch.Generator().manual_seed(0)
        found.append(batch([FUNCTIONS.get(collate)(list(items()))], preprocessor))
    assert_same(*found)
    assert found[0][0].shape[2:] == ((8, 8) if 'pad_size_divisor' in settings else (6, 7))
    assert ('gt_score' in found[0][1][0]) == (
        with_score or 'onehot' in str(settings) or 'batch_augments' in settings
    )
