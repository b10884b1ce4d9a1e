"""The embedded digits as an mmpretrain dataset."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from sklearn.datasets import load_digits

from mmkd.datasets import Digits


def contents(split):
    return [dataset_item['img'].tobytes() for dataset_item in Digits(split=split)]


def test_splits_share_no_image_and_hold_all_of_them():
    train, test = set(contents('train')), set(contents('test'))
    assert not train & test
    assert len(train) + len(test) == len(load_digits().images)


@pytest.mark.parametrize('split', ['train', 'test'])
def test_every_class_has_its_share_of_every_split(split):
    share = {'train': 2 / 3, 'test': 1 / 3}[split]
    counts = np.bincount(Digits(split=split).get_gt_labels())
    np.testing.assert_allclose(counts, share * np.bincount(load_digits().target), atol=1)


def test_images_and_labels_are_those_of_scikit_learn():
    digits = load_digits()
    known = dict(zip((x.tobytes() for x in digits.images), digits.target, strict=True))
    for item in Digits(split='test'):
        grey = item['img'][..., 0]
        assert item['img'].dtype == np.uint8
        assert (item['img'] == grey[..., None]).all()
        source = np.rint(grey * (16 / 255)).astype(np.float64)
        assert known[source.tobytes()] == item['gt_label']


def test_config_feeds_a_classifier_normalised_batches():
    cfg = Config.fromfile('configs/demo/digits_teacher.py')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        from mmpretrain.registry import MODELS

        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
        preprocessor = MODELS.build(dict(type='ClsDataPreprocessor', **cfg.data_preprocessor))
    batch = preprocessor(next(iter(loader)))
    assert batch['inputs'].shape == (64, 3, 8, 8)
    assert batch['inputs'].dtype == torch.float32
    everything = [preprocessor(data)['inputs'] for data in loader]
    assert abs(torch.cat(everything).std() - 1) < 0.1
    labels = torch.cat([sample.gt_label for sample in batch['data_samples']])
    assert labels.shape == (64,)
    assert set(labels.tolist()) <= set(range(10))


def test_unknown_split_is_named():
    with pytest.raises(ValueError, match="'train', 'test'.*found split='val'"):
        Digits(split='val')
