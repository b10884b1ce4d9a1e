"""Other detectors than the tiny Faster R-CNN, made from it, and steps in several processes."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from processes import run, shared_steps, step

_ROI = dict(
    type='SingleRoIExtractor',
    roi_layer=dict(type='RoIAlign', output_size=4),
    out_channels=8,
    featmap_strides=[4, 8, 16, 32],
)


@pytest.fixture
def mask_rcnn(detector):
    cfg = copy.deepcopy(detector)
    cfg.type = 'MaskRCNN'
    cfg.roi_head.mask_roi_extractor = _ROI
    cfg.roi_head.mask_head = dict(
        type='FCNMaskHead',
        num_convs=1,
        in_channels=8,
        conv_out_channels=8,
        num_classes=3,
        loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0),
    )
    cfg.train_cfg.rcnn.mask_size = 8
    cfg.test_cfg.rcnn.mask_thr_binary = 0.5
    return cfg


@pytest.fixture
def cascade_rcnn(detector):
    cfg = copy.deepcopy(detector)
    cfg.type = 'CascadeRCNN'
    head = cfg.roi_head.bbox_head
    cfg.roi_head.update(
        type='CascadeRoIHead',
        num_stages=2,
        stage_loss_weights=[1, 0.5],
        bbox_head=[dict(head, reg_class_agnostic=True) for _ in range(2)],
    )
    cfg.train_cfg.rcnn = [copy.deepcopy(cfg.train_cfg.rcnn) for _ in range(2)]
    return cfg


@pytest.fixture
def retinanet(detector):
    cfg = copy.deepcopy(detector)
    cfg.type = 'RetinaNet'
    del cfg['rpn_head'], cfg['roi_head']
    cfg.neck.update(start_level=1, add_extra_convs='on_input')
    cfg.bbox_head = ConfigDict(
        type='RetinaHead',
        num_classes=3,
        in_channels=8,
        feat_channels=8,
        stacked_convs=1,
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=1,
            ratios=[1.0],
            strides=[8, 16, 32, 64, 128],
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss'),
    )
    cfg.train_cfg = dict(
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    )
    cfg.test_cfg = dict(
        nms_pre=20,
        min_bbox_size=0,
        score_thr=0.0,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=10,
    )
    return cfg


@pytest.fixture
def assert_equals_one_process(tmp_path):
    """Hold losses and gradients of a batch shared by processes against those of one process.

    ``assert_equals_one_process(cases, processes=2)``: each case is a distiller's config, a batch of
    as many images for every process, and a wrapper (:func:`processes.step`).
    """

    def check(cases, processes=2):
        shared = run(shared_steps, cases, processes, tmp_path)
        for (cfg, batch, wrapper), (their_losses, their_grads) in zip(cases, shared, strict=True):
            losses, grads = step(cfg, batch)
            case = f'{cfg["type"]} {wrapper}'
            assert their_losses.keys() == losses.keys(), case
            for name, value in losses.items():
                close = pytest.approx(value.item(), rel=1e-4, abs=1e-6)
                assert their_losses[name].item() == close, f'{case} {name}'
            assert their_grads.keys() == grads.keys(), case
            for name, grad in grads.items():
                tolerance = 1e-4 * grad.abs().max().item() + 1e-7
                close = torch.allclose(their_grads[name], grad, rtol=0, atol=tolerance)
                assert close, f'{case} {name}'

    return check
