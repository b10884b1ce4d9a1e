"""Baselines train through the tools, on digits stored as CIFAR-100 and ImageNet are."""

import hashlib
import json
import math
import pickle

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.datasets.categories import CIFAR100_CATEGORIES, IMAGENET_CATEGORIES

from mmkd.datasets.digits import load_split


@pytest.fixture(scope='module')
def cifar100_folder(tmp_path_factory):
    """``cifar100_folder(train, test)`` writes CIFAR-100's pickles with so many digits."""

    def write(num_train, num_test):
        root = tmp_path_factory.mktemp('cifar100')
        folder = root / 'cifar-100-python'
        folder.mkdir()
        contents = dict(meta=dict(fine_label_names=list(CIFAR100_CATEGORIES)))
        for split, count in (('train', num_train), ('test', num_test)):
            images, labels = (part[:count] for part in load_split(split))
            images = np.stack([cv2.resize(image, (32, 32)) for image in images])
            # A row is the red plane, then the green and the blue one.
            data = np.repeat(images.reshape(len(images), 1, -1), 3, axis=1).reshape(-1, 3072)
            contents[split] = dict(
                data=data,
                fine_labels=labels.tolist(),
                coarse_labels=[0] * len(labels),
                filenames=[f'{split}_{i}.png' for i in range(len(labels))],
            )
        md5 = {}
        for name, content in contents.items():
            stored = pickle.dumps(content, protocol=2)
            (folder / name).write_bytes(stored)
            md5[name] = hashlib.md5(stored).hexdigest()
        # mmpretrain takes no folder whose files have other checksums than the published ones.
        (root / 'cifar100_of_digits.py').write_text(
            'from mmpretrain.datasets import CIFAR100\n'
            f'CIFAR100.train_list = [["train", "{md5["train"]}"]]\n'
            f'CIFAR100.test_list = [["test", "{md5["test"]}"]]\n'
            f'CIFAR100.meta["md5"] = "{md5["meta"]}"\n'
        )
        return root

    return write


@pytest.fixture(scope='module')
def imagenet_folder(tmp_path_factory):
    """``split/CLASS/*.JPEG`` for 1000 classes, of which the first ten have digits."""
    root = tmp_path_factory.mktemp('imagenet')
    for split, digits, count in (('train', 'train', 16), ('val', 'test', 8)):
        for i in range(len(IMAGENET_CATEGORIES)):
            (root / split / f'n{i:08d}').mkdir(parents=True)
        for i, (image, label) in enumerate(list(zip(*load_split(digits), strict=True))[:count]):
            size = (280 + 8 * i, 260)
            encoded = cv2.imencode('.jpg', cv2.resize(image, size))[1].tobytes()
            (root / split / f'n{label:08d}' / f'{split}_{i}.JPEG').write_bytes(encoded)
    return root


@pytest.fixture
def train(tool, repo, tmp_path):
    """``train(name, folder)`` trains a baseline; gives its config, scalars and last checkpoint."""

    def run(name, folder, epochs=1):
        imports = ['mmkd', *(module.stem for module in folder.glob('*.py'))]
        config = tmp_path / 'config.py'
        config.write_text(
            f"_base_ = '{repo}/configs/baseline/{name}'\ncustom_imports = dict(imports={imports})\n"
        )
        loaders = [f'{split}_dataloader.dataset.data_root={folder}' for split in ('train', 'val')]
        tool(
            'train.py',
            config,
            '--work-dir',
            tmp_path / 'run',
            '--cfg-options',
            *loaders,
            f'train_cfg.max_epochs={epochs}',
            'default_hooks.logger.interval=1',
            'randomness.seed=0',
            env={'PYTHONPATH': str(folder)},
        )
        (log,) = (tmp_path / 'run').glob('*/vis_data/scalars.json')
        scalars = [json.loads(line) for line in log.read_text().splitlines()]
        checkpoint = torch.load(tmp_path / 'run' / f'epoch_{epochs}.pth')
        return Config.fromfile(repo / 'configs/baseline' / name), scalars, checkpoint

    return run


def assert_trained(cfg, scalars, checkpoint, num_images, classes):
    """The config's batches at the config's learning rate, finite losses, the data set's classes."""
    steps = [scalar for scalar in scalars if 'loss' in scalar]
    per_epoch = math.ceil(num_images / cfg.train_dataloader.batch_size)
    assert len(steps) == checkpoint['meta']['iter'] == per_epoch * checkpoint['meta']['epoch']
    assert {step['lr'] for step in steps} == {cfg.optim_wrapper.optimizer.lr}
    assert np.isfinite([step['loss'] for step in steps]).all()
    assert checkpoint['meta']['dataset_meta']['classes'] == classes
    assert checkpoint['state_dict']['head.fc.weight'].shape[0] == len(classes)


def test_resnet8_learns_from_a_cifar100_folder(train, cifar100_folder):
    cfg, scalars, checkpoint = train('resnet8_cifar100.py', cifar100_folder(1195, 64), epochs=4)
    assert_trained(cfg, scalars, checkpoint, 1195, tuple(CIFAR100_CATEGORIES))
    # Ten digits, equally often: log 10 is what an answer without the image costs.
    loss = [scalar['loss'] for scalar in scalars if 'loss' in scalar]
    assert loss[-1] < 0.75 * math.log(10) < loss[0]


@pytest.mark.parametrize('name', ['wrn_28_4_dcm_cifar100.py', 'msdnet_beed_cifar100.py'])
def test_other_schedules_step_on_a_cifar100_folder(name, train, cifar100_folder):
    run = train(name, cifar100_folder(24, 8))
    assert_trained(*run, 24, tuple(CIFAR100_CATEGORIES))
    assert 0 <= run[1][-1]['accuracy/top1'] <= 100


def test_resnet18_steps_on_an_imagenet_folder(train, imagenet_folder):
    run = train('resnet18_imagenet.py', imagenet_folder)
    assert_trained(*run, 16, tuple(IMAGENET_CATEGORIES))
    assert run[1][-1]['accuracy/top1'] <= run[1][-1]['accuracy/top5'] <= 100
