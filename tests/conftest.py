"""Tiny models shared by the tests: built in milliseconds, no downloads."""

from __future__ import annotations

import copy
import gc
import json
import socket
from collections import OrderedDict

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from quick_mmengine import spare_time

import mmkd  # noqa: F401
from mmkd.registry import MODELS

spare_time()


def pytest_collection_finish():
    """Spare collections what stays: MMEngine collects for each data set, half a second."""
    gc.collect()
    gc.freeze()


_CLASSIFIER = dict(
    type='ImageClassifier',
    _scope_='mmpretrain',
    data_preprocessor=dict(num_classes=5, mean=[100.0] * 3, std=[50.0] * 3, to_rgb=True),
    backbone=dict(
        type='ResNet_CIFAR',
        depth=18,
        stem_channels=4,
        base_channels=4,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(1,),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', num_classes=5, in_channels=8, loss=dict(type='CrossEntropyLoss')
    ),
)

_DETECTOR = dict(
    type='FasterRCNN',
    _scope_='mmdet',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[100.0, 110.0, 120.0],
        std=[50.0, 55.0, 60.0],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='ResNet',
        depth=18,
        base_channels=4,
        stem_channels=4,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type='BN'),
        norm_eval=True,
        style='pytorch',
    ),
    neck=dict(type='FPN', in_channels=[4, 8, 16, 32], out_channels=8, num_outs=5),
    rpn_head=dict(
        type='RPNHead',
        in_channels=8,
        feat_channels=8,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[4], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss'),
    ),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=3),
            out_channels=8,
            featmap_strides=[4, 8, 16, 32],
        ),
        bbox_head=dict(
            type='Shared2FCBBoxHead',
            in_channels=8,
            fc_out_channels=16,
            roi_feat_size=3,
            num_classes=3,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            loss_cls=dict(type='CrossEntropyLoss'),
            loss_bbox=dict(type='L1Loss'),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
            sampler=dict(type='RandomSampler', num=16, pos_fraction=0.5, add_gt_as_proposals=False),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        rpn_proposal=dict(
            nms_pre=50, max_per_img=20, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0
        ),
        rcnn=dict(
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5),
            sampler=dict(type='RandomSampler', num=12, pos_fraction=0.25, add_gt_as_proposals=True),
            pos_weight=-1,
            debug=False,
        ),
    ),
    test_cfg=dict(
        rpn=dict(
            nms_pre=50, max_per_img=20, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0
        ),
        rcnn=dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=10),
    ),
)


@pytest.fixture(autouse=True)
def no_runner_before(monkeypatch):
    """A runner leaves its scope and its progress behind, where the next test would find them."""
    for manager in (DefaultScope, MessageHub):
        monkeypatch.setattr(manager, '_instance_dict', OrderedDict())


@pytest.fixture
def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.fixture
def classifier() -> ConfigDict:
    """Config of a classifier of 5 classes whose pooled vector has 8 channels."""
    return ConfigDict(copy.deepcopy(_CLASSIFIER))


@pytest.fixture
def detector() -> ConfigDict:
    """Config of a Faster R-CNN of 3 classes with FPN levels of 8 channels."""
    return ConfigDict(copy.deepcopy(_DETECTOR))


@pytest.fixture
def save_teacher(tmp_path):
    """Build a model, save its weights, and return the ``teacher=`` config of a distiller."""

    def save(cfg: dict, seed: int = 1, name: str = 'teacher.pth') -> dict:
        torch.manual_seed(seed)
        model = MODELS.build(copy.deepcopy(cfg))
        # Fresh running statistics would hide a wrong normalisation mode.
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        torch.save(dict(state_dict=model.state_dict()), tmp_path / name)
        return dict(config=cfg, checkpoint=str(tmp_path / name))

    return save


@pytest.fixture
def image_batch():
    """Raw batch of a classifier: ``images(n)`` gives what a data loader gives."""
    from mmpretrain.structures import DataSample

    def make(n: int = 4, size: int = 16, seed: int = 0) -> dict:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)
        return dict(
            inputs=list(inputs), data_samples=[DataSample().set_gt_label(i % 5) for i in range(n)]
        )

    return make


@pytest.fixture
def scene_batch():
    """Raw batch of a detector, ragged, so that it is padded."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    def make(sizes=((96, 128), (64, 100)), seed: int = 0, num_gt: int = 2) -> dict:
        generator = torch.Generator().manual_seed(seed)
        inputs, samples = [], []
        for height, width in sizes:
            shape = (3, height, width)
            inputs.append(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator))
            sample = DetDataSample(
                metainfo=dict(img_shape=shape[1:], ori_shape=shape[1:], scale_factor=(1.0, 1.0))
            )
            corner = torch.rand(num_gt, 2, generator=generator) * 30
            extent = 15 + torch.rand(num_gt, 2, generator=generator) * 15
            sample.gt_instances = InstanceData(
                bboxes=torch.cat([corner, corner + extent], dim=1),
                labels=torch.arange(num_gt) % 3,
            )
            samples.append(sample)
        return dict(inputs=inputs, data_samples=samples)

    return make


@pytest.fixture(scope='session')
def coco_folder(tmp_path_factory):
    """A folder in COCO's layout with a few images of coloured boxes."""
    from mmdet.datasets import CocoDataset

    root = tmp_path_factory.mktemp('coco')
    generator = np.random.default_rng(0)
    names = CocoDataset.METAINFO['classes']
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(names)]
    (root / 'annotations').mkdir()
    for split, count in (('train2017', 8), ('val2017', 2)):
        (root / split).mkdir()
        images, annotations = [], []
        for i in range(count):
            image = generator.integers(0, 100, (64, 96, 3), dtype=np.uint8)
            x, y = (int(v) for v in generator.integers(2, 30, 2))
            w, h = (int(v) for v in generator.integers(20, 30, 2))
            image[y : y + h, x : x + w] = 255
            name = f'{i:012d}.jpg'
            cv2.imwrite(str(root / split / name), image)
            images.append(dict(id=i, file_name=name, height=64, width=96))
            annotations.append(
                dict(
                    id=i + 1,
                    image_id=i,
                    category_id=i % 3 + 1,
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                    segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
                )
            )
        (root / 'annotations' / f'instances_{split}.json').write_text(
            json.dumps(dict(images=images, annotations=annotations, categories=categories))
        )
    return root


def pytest_make_parametrize_id(val, argname):
    # Archives have the time in them, and the workers of xdist must agree on names.
    return argname if isinstance(val, bytes) else None
