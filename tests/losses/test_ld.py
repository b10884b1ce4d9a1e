import copy
import math

import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import LDHead

from mmkd.losses import LDLoss

STRIDES, SIZES, CLASSES, BINS = [8, 16, 32], [(8, 12), (4, 6), (2, 3)], 3, 5
ANCHORS = dict(
    type='AnchorGenerator',
    ratios=[1.0],
    octave_base_scale=4,
    scales_per_octave=1,
    strides=STRIDES,
)
ASSIGNER = dict(type='ATSSAssigner', topk=9)


def levels(channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        2 * torch.randn(2, channels, *size, dtype=torch.float64, generator=generator)
        for size in SIZES
    ]


def sides():
    return [levels(CLASSES), levels(4 * BINS, 1)], levels(4 * BINS, 2)


def build(student, teacher, **kwargs):
    loss = LDLoss(ANCHORS, kwargs.pop('assigner', ASSIGNER), **kwargs)
    loss.build(student, teacher)
    return loss


def of_mmdet(student, teacher, samples):
    head = LDHead(
        CLASSES,
        32,
        feat_channels=32,
        stacked_convs=1,
        anchor_generator=ANCHORS,
        reg_max=BINS - 1,
        loss_bbox=dict(type='GIoULoss'),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True),
        loss_ld=dict(type='KnowledgeDistillationKLDivLoss', loss_weight=0.25, T=10),
        train_cfg=dict(assigner=ASSIGNER, allowed_border=-1, pos_weight=-1, debug=False),
    )
    metas = [sample.metainfo for sample in samples]
    truths = [sample.gt_instances for sample in samples]
    ignored = [sample.ignored_instances for sample in samples]
    return sum(head.loss_by_feat(*student, truths, metas, teacher, ignored)['loss_ld'])


def test_main_region_equals_mmdet_with_its_gradient(dense_batch):
    student, teacher = sides()
    student, teacher = [[x.float() for x in s] for s in student], [x.float() for x in teacher]
    leaves = [x.requires_grad_() for x in student[1]]
    loss = build(student, teacher, vlr_weight=0.0)
    ours = loss(student, teacher, dense_batch)
    theirs = of_mmdet(student, teacher, copy.deepcopy(dense_batch))
    assert ours > 0
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    for a, b in zip(
        torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True
    ):
        torch.testing.assert_close(a, b)


def overlap(a, b):
    """IoU, and IoU less the squared distance of centres over the enclosing box's diagonal."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
    iou = width * height / (areas - width * height)
    diagonal = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    centres = (sum(a[0::2]) - sum(b[0::2])) ** 2 / 4 + (sum(a[1::2]) - sum(b[1::2])) ** 2 / 4
    return iou, iou - centres / diagonal


def brute_region(boxes, image):
    """Level, row and column to the largest IoU in the valuable region, box by box."""
    region = {}
    for box in boxes:
        values, candidates = {}, []
        for level, ((rows, columns), stride) in enumerate(zip(SIZES, STRIDES, strict=True)):
            near = []
            for y in range(min(rows, math.ceil(image[0] / stride))):
                for x in range(min(columns, math.ceil(image[1] / stride))):
                    cx, cy, half = x * stride, y * stride, 2 * stride
                    anchor = (cx - half, cy - half, cx + half, cy + half)
                    values[level, y, x] = overlap(anchor, box)
                    far = (cx - (box[0] + box[2]) / 2) ** 2 + (cy - (box[1] + box[3]) / 2) ** 2
                    near.append((far, values[level, y, x][0]))
            candidates += [iou for _, iou in sorted(near)[:9]]
        threshold = np.mean(candidates) + np.std(candidates, ddof=1)
        for position, (iou, diou) in values.items():
            if 0.25 * threshold <= diou < threshold:
                region[position] = max(iou, region.get(position, 0))
    return region


# Boxes whose candidates are not tied: centres off the symmetries of the grid of anchors.
BOXES = [[[4.1, 6.3, 41.2, 45.9], [51.3, 10.2, 90.9, 61.7], [70.4, 3.3, 94.7, 21.2]], []]


def test_valuable_region_equals_a_brute_force_loop(dense_batch):
    student, teacher = sides()
    total = 0.0
    for i, (sample, boxes) in enumerate(zip(dense_batch, BOXES, strict=True)):
        sample.gt_instances = sample.gt_instances[: len(boxes)]
        sample.gt_instances.bboxes = torch.tensor(boxes).reshape(-1, 4)
        for (level, y, x), iou in brute_region(boxes, sample.pad_shape).items():
            s, t = (
                side[level][i, :, y, x].reshape(4, BINS).numpy() / 10
                for side in (student[1], teacher)
            )
            p, q = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in (t, s))
            total += iou * 100 * (p * np.log(p / q)).mean()
    main = build(student, teacher, vlr_weight=0.0)(student, teacher, dense_batch)
    both = build(student, teacher, vlr_weight=0.5, loss_weight=2.0)(student, teacher, dense_batch)
    assert total > 0
    assert both.item() == pytest.approx(2 * (main.item() / 0.25 + 0.5 * total), rel=1e-5)


def test_gradient_reaches_edges_and_not_scores(dense_batch):
    student, teacher = sides()
    tensors = [x.requires_grad_() for side in student for x in side]
    target = [x.requires_grad_() for x in teacher]
    loss = build(student, teacher)
    loss(student, [x.detach() for x in target], dense_batch).backward()
    assert all(x.grad is None for x in tensors[:3] + target)
    assert any(x.grad.abs().sum() > 0 for x in tensors[3:])


def test_flat_levels_are_the_same_term(dense_batch):
    student, teacher = sides()
    loss = build(student, teacher)
    flat = [x for side in student for x in side]
    assert loss(flat, teacher, dense_batch) == loss(student, teacher, dense_batch)


def test_no_ground_truth_gives_zero_loss_and_zero_gradient(dense_batch):
    student, teacher = sides()
    edges = [x.requires_grad_() for x in student[1]]
    for sample in dense_batch:
        sample.gt_instances = sample.gt_instances[:0]
    value = build(student, teacher)(student, teacher, dense_batch)
    value.backward()
    assert value == 0
    assert all((x.grad == 0).all() for x in edges)


def test_half_precision_edges_of_1e4_stay_finite(check_autocast, dense_batch):
    (scores, edges), teacher = sides()
    loss = build([scores, edges], teacher)

    def of_edges(student, target, samples):
        return loss([[x.float() for x in scores], student], target, samples)

    check_autocast(of_edges, edges, teacher, dense_batch)


def test_wrong_taps_and_settings_are_refused():
    (scores, edges), teacher = sides()
    with pytest.raises(ValueError, match=r"3 and 3 tensors; give student=\['bbox_head\[0\]'"):
        build(edges, teacher)
    with pytest.raises(ValueError, match='has 3 levels.*the taps give 2'):
        build([scores[:2], edges[:2]], teacher[:2])
    with pytest.raises(ValueError, match=r'predicts no distributions'):
        build([scores, [x[:, :4] for x in edges]], [x[:, :4] for x in teacher])
    with pytest.raises(ValueError, match='same reg_max'):
        build([scores, edges], [x[:, :16] for x in teacher])
    with pytest.raises(ValueError, match='MaxIoUAssigner, which has no topk'):
        build(
            [scores, edges],
            teacher,
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4),
        )
    with pytest.raises(ValueError, match='tau must be positive, found tau=0'):
        build([scores, edges], teacher, tau=0)
    with pytest.raises(ValueError, match=r'\[2, 2, 2\] anchors a position, expected 1'):
        LDLoss({**ANCHORS, 'ratios': [0.5, 1.0]}, ASSIGNER)
