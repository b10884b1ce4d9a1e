import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import ATSSHead, RetinaHead

from mmkd.losses import QualityFocalKDLoss, quality_focal_kd

STRIDES, SIZES, CLASSES, PER_POSITION = [8, 16, 32], [(8, 12), (4, 6), (2, 3)], 3, 2
ANCHORS = dict(
    type='AnchorGenerator',
    ratios=[0.5, 1.0],
    octave_base_scale=4,
    scales_per_octave=1,
    strides=STRIDES,
)
ASSIGNERS = dict(
    retinanet=dict(
        type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1
    ),
    atss=dict(type='ATSSAssigner', topk=9),
)


def levels(channels=CLASSES * PER_POSITION, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        2 * torch.randn(2, channels, *size, dtype=torch.float64, generator=generator)
        for size in SIZES
    ]


def build(student, teacher, *args, **kwargs):
    loss = QualityFocalKDLoss(*args, **kwargs)
    loss.build(student, teacher)
    return loss


def head_targets(assigner, samples):
    """What a dense head of mmdet makes of the anchors: levels of label weights, and positives."""
    config = dict(
        anchor_generator=ANCHORS,
        train_cfg=dict(assigner=assigner, allowed_border=-1, pos_weight=-1, debug=False),
    )
    if assigner['type'] == 'MaxIoUAssigner':
        head = RetinaHead(CLASSES, 8, **config)
    else:
        head = ATSSHead(CLASSES, 32, feat_channels=32, stacked_convs=1, **config)
    metas = [sample.metainfo for sample in samples]
    anchors, valid = head.get_anchors(SIZES, metas, device='cpu')
    targets = head.get_targets(
        anchors,
        valid,
        [sample.gt_instances for sample in samples],
        metas,
        [sample.ignored_instances for sample in samples],
    )
    return targets[2 if isinstance(head, ATSSHead) else 1], targets[-1]


def reference(student, teacher, weights, beta):
    """The rows and the loss of CrossKD's code, entry by entry."""
    total = 0.0
    for s, t, weight in zip(student, teacher, weights, strict=True):
        rows = (x.permute(0, 2, 3, 1).reshape(-1, CLASSES) for x in (s, t))
        for z, y, w in zip(*rows, weight.reshape(-1), strict=True):
            for k in range(CLASSES):
                p, q = (1 / (1 + np.exp(-x[k].item())) for x in (z, y))
                entropy = -q * np.log(p) - (1 - q) * np.log(1 - p)
                total += w.item() * abs(p - q) ** beta * entropy
    return total


@pytest.mark.parametrize('beta', [1.0, 2.0])
@pytest.mark.parametrize('name', ASSIGNERS)
def test_equals_the_definition_on_the_targets_of_mmdets_heads(name, beta, dense_batch):
    student, teacher = levels(), levels(seed=1)
    weights, positives = head_targets(ASSIGNERS[name], dense_batch)
    loss = build(student, teacher, ANCHORS, ASSIGNERS[name], beta=beta, loss_weight=3.0)
    expected = 3 * reference(student, teacher, weights, beta) / positives
    assert 0 < sum(w.sum() for w in weights) < sum(w.numel() for w in weights)
    assert loss(student, teacher, dense_batch).item() == pytest.approx(expected)


def test_without_an_assigner_the_teachers_scores_count_the_positives():
    student, teacher = levels(), levels(seed=1)
    number = sum(t.sigmoid().amax(dim=1).sum() for t in teacher).item()
    weights = [torch.ones(s[:, 0].numel() * PER_POSITION) for s in student]
    expected = reference(student, teacher, weights, 1.0) / number
    assert build(student, teacher)(student, teacher).item() == pytest.approx(expected)


def test_a_teacher_that_sees_nothing_does_not_divide_by_zero():
    student, teacher = levels(), [torch.full_like(x, -100) for x in levels()]
    assert build(student, teacher)(student, teacher).isfinite()


def test_gradient_flows_to_the_student_only(dense_batch):
    small = [x[..., :2, :2].clone().requires_grad_() for x in levels()]
    target = [x[..., :2, :2].clone() for x in levels(seed=1)]
    loss = build(small, target)
    assert torch.autograd.gradcheck(lambda *s: loss(s, target), small)
    student, teacher = [x.requires_grad_() for x in levels()], levels(seed=1)
    build(student, teacher, ANCHORS, ASSIGNERS['retinanet'])(
        student, teacher, dense_batch
    ).backward()
    assert all(x.grad.abs().sum() > 0 for x in student)
    assert all(x.grad is None for x in teacher)


def test_equal_scores_cost_nothing(dense_batch):
    student = levels()
    assert build(student, student)(student, student) == 0


@pytest.mark.parametrize('args', [(), (ANCHORS, ASSIGNERS['retinanet'])], ids=['scores', 'anchors'])
def test_half_precision_scores_of_1e4_stay_finite(args, check_autocast, dense_batch):
    student, teacher = levels(), levels(seed=1)
    check_autocast(build(student, teacher, *args), student, teacher, dense_batch)


def test_processes_average_to_the_joint_batch(monkeypatch, dense_batch):
    student, teacher = levels(), levels(seed=1)
    loss = build(student, teacher, ANCHORS, ASSIGNERS['retinanet'])
    expected = loss(student, teacher, dense_batch).item()

    def run():
        return [
            loss([s[i : i + 1] for s in student], [t[i : i + 1] for t in teacher], [dense_batch[i]])
            for i in range(2)
        ]

    counts = []
    monkeypatch.setattr(quality_focal_kd, 'get_world_size', lambda: 2)
    monkeypatch.setattr(quality_focal_kd, 'all_reduce', lambda x, op: counts.append(x.clone()))
    run()
    mean = sum(counts) / 2
    monkeypatch.setattr(quality_focal_kd, 'all_reduce', lambda x, op: x.copy_(mean))
    assert (sum(run()) / 2).item() == pytest.approx(expected)


def test_wrong_shapes_and_settings_are_refused():
    maps = levels()
    with pytest.raises(ValueError, match='both anchor_generator and assigner, or none'):
        QualityFocalKDLoss(ANCHORS)
    with pytest.raises(ValueError, match='beta must not be negative, found beta=-1'):
        QualityFocalKDLoss(beta=-1)
    with pytest.raises(ValueError, match='same classes'):
        build(maps, [t[:, 1:] for t in maps])
    with pytest.raises(ValueError, match='takes maps'):
        build(torch.rand(2, 3), torch.rand(2, 3))
    with pytest.raises(ValueError, match='has 3 levels.*the taps give 2'):
        build(maps[:2], maps[:2], ANCHORS, ASSIGNERS['atss'])
    odd = [x[:, :5] for x in maps]
    with pytest.raises(ValueError, match='not those of 2 anchors a position'):
        build(odd, odd, ANCHORS, ASSIGNERS['atss'])
