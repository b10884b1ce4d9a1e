"""The embedded scenes as an mmdet dataset."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from pycocotools import mask as rle

from mmkd.datasets import Digits, DigitScenes

META_KEYS = ('img_id', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'instances')


PRINT_SCENE = """
from mmkd.datasets import DigitScenes
scene = DigitScenes(num_images=2)[1]
print(scene['instances'], scene['img'].tobytes().hex())
"""


def load(*transforms, **kwargs):
    pipeline = [
        dict(type='LoadImageFromNDArray'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        *transforms,
        dict(type='PackDetInputs', meta_keys=META_KEYS),
    ]
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DigitScenes(pipeline=pipeline, **kwargs)


def crops(masks):
    """Masks cut to the pixels they cover, as bytes to compare."""
    found = []
    for mask in masks:
        x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask))
        found.append((width, height, mask[y : y + height, x : x + width].tobytes()))
    return found


def same(a, b):
    return np.array_equal(a['img'], b['img']) and a['instances'] == b['instances']


def test_scene_depends_on_seed_split_and_index_only():
    ten, twenty = DigitScenes(num_images=10), DigitScenes(num_images=20)
    assert all(same(ten[i], twenty[i]) for i in range(10))
    assert not same(twenty[0], twenty[1])
    assert not same(ten[0], DigitScenes(num_images=1, seed=1)[0])
    assert not np.array_equal(ten[0]['img'], DigitScenes(split='test', num_images=1)[0]['img'])


def test_another_process_makes_the_same_scene():
    printed = subprocess.check_output([sys.executable, '-c', PRINT_SCENE], text=True)
    scene = DigitScenes(num_images=2)[1]
    # OneDL's forks print lines of their own when they are imported.
    assert printed.splitlines()[-1] == f'{scene["instances"]} {scene["img"].tobytes().hex()}'


def test_boxes_are_tight_around_masks_inside_the_scene_and_apart():
    for scene in DigitScenes(num_images=40, num_digits=(4, 9)):
        covered = np.zeros((scene['height'], scene['width']), dtype=int)
        for instance in scene['instances']:
            ys, xs = np.nonzero(rle.decode(instance['mask']))
            assert instance['bbox'] == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            x1, y1, x2, y2 = instance['bbox']
            covered[y1:y2, x1:x2] += 1
        assert covered.max() == 1


def test_digits_number_and_size_stay_in_the_given_ranges():
    scenes = DigitScenes(num_images=40, num_digits=(2, 3), digit_size=(20, 24))
    assert {len(scene['instances']) for scene in scenes} == {2, 3}
    for scene in scenes:
        for instance in scene['instances']:
            x1, y1, x2, y2 = instance['bbox']
            assert 15 <= y2 - y1 <= 24
            assert x2 - x1 <= 24


@pytest.mark.parametrize('split', ['train', 'test'])
def test_scenes_of_a_split_are_made_of_its_digits_only(split):
    size = 24
    known = {'train': set(), 'test': set()}
    for name, masks in known.items():
        tiles = [
            cv2.resize(item['img'][..., 0], (size, size), interpolation=cv2.INTER_CUBIC) > 127
            for item in Digits(split=name)
        ]
        masks.update(crops([tile.astype(np.uint8) for tile in tiles]))
    scenes = DigitScenes(split=split, num_images=30, digit_size=(size, size))
    found = crops(rle.decode(x['mask']) for scene in scenes for x in scene['instances'])
    other = {'train': 'test', 'test': 'train'}[split]
    assert set(found) <= known[split]
    assert not set(found) & known[other]


def test_digits_stand_out_from_the_background_in_the_mask():
    for scene in DigitScenes(num_images=20):
        grey = scene['img'].astype(float).mean(-1)
        background = np.ones(grey.shape, dtype=bool)
        for instance in scene['instances']:
            x1, y1, x2, y2 = instance['bbox']
            background[y1:y2, x1:x2] = False
        digits = sum(rle.decode(x['mask']) for x in scene['instances']) > 0
        assert abs(grey[digits].mean() - grey[background].mean()) > 25


def test_mmdet_transforms_move_image_boxes_and_masks_together():
    transforms = [
        dict(type='Resize', scale=(192, 192), keep_ratio=True),
        dict(type='RandomFlip', prob=1.0),
    ]
    plain, moved = load(num_images=1)[0], load(*transforms, num_images=1)[0]
    assert moved['inputs'].shape == (3, 192, 192)
    before, after = (x['data_samples'].gt_instances for x in (plain, moved))
    assert torch.equal(before.labels, after.labels)
    x1, y1, x2, y2 = before.bboxes.tensor.T * 2
    expected = torch.stack([192 - x2, y1, 192 - x1, y2], dim=1)
    torch.testing.assert_close(after.bboxes.tensor, expected)
    for mask, (x1, y1, x2, y2) in zip(after.masks.masks, expected.int().tolist(), strict=True):
        assert mask[y1:y2, x1:x2].sum() == mask.sum() > 0


def evaluate(change):
    """COCO metrics of the ground truth, changed, as predictions, without an annotation file."""
    scenes = load(split='test', num_images=12)
    metric = CocoMetric(metric=['bbox', 'segm'])
    metric.dataset_meta = scenes.metainfo
    for item in scenes:
        sample = item['data_samples']
        truth = sample.gt_instances
        masks = torch.from_numpy(truth.masks.masks).bool()
        sample.pred_instances = InstanceData(
            **change(bboxes=truth.bboxes.tensor, labels=truth.labels, masks=masks),
            scores=torch.ones(len(truth)),
        )
        metric.process({}, [sample.to_dict()])
    found = metric.evaluate(len(scenes))
    return found['coco/bbox_mAP'], found['coco/segm_mAP']


def test_coco_metric_reads_the_truth_from_the_samples():
    assert evaluate(dict) == (1.0, 1.0)


@pytest.mark.parametrize(
    ('change', 'highest'),
    [
        (lambda **x: {**x, 'bboxes': x['bboxes'] + 2, 'masks': x['masks'].roll(2, dims=2)}, 0.8),
        (lambda **x: {**x, 'labels': (x['labels'] + 1) % 10}, 0.1),
    ],
    ids=['shifted', 'other classes'],
)
def test_coco_metric_punishes_wrong_predictions(change, highest):
    bbox, segm = evaluate(change)
    assert bbox < highest
    assert segm < highest


def test_config_gives_a_detector_batches_and_the_metric_its_truth():
    cfg = Config.fromfile('configs/demo/scenes_teacher.py')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        train, test = (
            Runner.build_dataloader(loader, seed=0)
            for loader in (cfg.train_dataloader, cfg.test_dataloader)
        )
    batch = next(iter(train))
    assert len(batch['inputs']) == cfg.train_dataloader.batch_size
    assert {len(train.dataset), len(test.dataset)} == {400, 100}
    sample = next(iter(test))['data_samples'][0]
    assert len(sample.instances) == len(sample.gt_instances) > 0


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(split='val'), "found split='val'"),
        (dict(num_digits=(0, 3)), r'num_digits .* found \(0, 3\)'),
        (dict(num_digits=(4, 3)), r'num_digits .* found \(4, 3\)'),
        (dict(digit_size=(20, 200)), r'digit_size .*img_size=96.* found \(20, 200\)'),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DigitScenes(**kwargs)
