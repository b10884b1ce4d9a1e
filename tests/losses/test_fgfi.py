import math

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData

from mmkd.losses import FGFILoss, fgfi

STRIDES, SCALES, RATIOS = [8, 16, 32], [2, 3], [0.5, 1.0, 2.0]
ANCHORS = dict(type='AnchorGenerator', strides=STRIDES, scales=SCALES, ratios=RATIOS)
BATCH = (64, 96)  # height and width of the padded images
SIZES = [(8, 12), (4, 6), (2, 3)]
IMAGES = [(64, 96), (40, 96), (50, 70), (33, 33)]
BOXES = [
    [[3, 5, 30, 25], [40, 10, 90, 60], [70, 2, 79, 12]],
    [[60, 20, 95, 39]],
    [],
    [[1, 1, 32, 32], [20, 18, 33, 33]],
]


def data_samples(boxes=BOXES, images=IMAGES, batch=BATCH, wrap=torch.Tensor):
    samples = []
    for box, image in zip(boxes, images, strict=True):
        sample = DetDataSample(metainfo=dict(img_shape=image, batch_input_shape=batch))
        box = torch.tensor(box, dtype=torch.float32).reshape(-1, 4)
        sample.gt_instances = InstanceData(bboxes=wrap(box))
        samples.append(sample)
    return samples


def levels(channels, count=4, sizes=SIZES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(count, channels, *size, dtype=torch.float64, generator=generator)
        for size in sizes
    ]


def build(student, teacher, **kwargs):
    torch.manual_seed(0)
    loss = FGFILoss(ANCHORS, **kwargs)
    loss.build(student, teacher)
    return loss.double()


def brute_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return inter / (sum(areas) - inter)


def brute_mask(boxes, image, size, stride, psi):
    """Box by box, position by position, anchor by anchor."""
    mask = np.zeros(size, dtype=bool)
    for box in boxes:
        ious = {}
        for y in range(min(size[0], math.ceil(image[0] / stride))):
            for x in range(min(size[1], math.ceil(image[1] / stride))):
                for scale in SCALES:
                    for ratio in RATIOS:
                        w = stride * scale / math.sqrt(ratio) / 2
                        h = stride * scale * math.sqrt(ratio) / 2
                        cx, cy = x * stride, y * stride
                        anchor = (cx - w, cy - h, cx + w, cy + h)
                        ious.setdefault((y, x), []).append(brute_iou(anchor, box))
        largest = max(max(values) for values in ious.values())
        for position, values in ious.items():
            mask[position] |= any(value > psi * largest for value in values)
    return mask


def brute_masks(boxes=BOXES, images=IMAGES, sizes=SIZES, psi=0.5):
    """Levels of images of masks."""
    return [
        np.stack([brute_mask(b, i, size, stride, psi) for b, i in zip(boxes, images, strict=True)])
        for size, stride in zip(sizes, STRIDES, strict=True)
    ]


def reference(loss, student, teacher, masks):
    total = 0.0
    for adaptation, s, t, mask in zip(loss.adaptations, student, teacher, masks, strict=True):
        adapted = adaptation(s).detach().numpy()
        squares = sum(
            ((adapted[n, :, y, x] - t[n, :, y, x].numpy()) ** 2).sum()
            for n, y, x in zip(*np.nonzero(mask), strict=True)
        )
        total += squares / (2 * mask.sum())
    return total


@pytest.mark.parametrize('psi', [0.2, 0.5, 0.8])
@pytest.mark.parametrize('wrap', [torch.Tensor, HorizontalBoxes])
def test_masks_equal_a_brute_force_loop(psi, wrap):
    loss = FGFILoss(ANCHORS, psi=psi)
    masks = loss.imitation_masks(SIZES, data_samples(wrap=wrap))
    for mask, expected in zip(masks, brute_masks(psi=psi), strict=True):
        assert mask.shape[1] == 1
        assert 0 < expected.sum() < expected.size
        assert np.array_equal(mask[:, 0].numpy(), expected)


@pytest.mark.parametrize('seed', range(3))
def test_masks_of_random_boxes_equal_a_brute_force_loop(seed):
    generator = np.random.default_rng(seed)
    boxes = []
    for (height, width), count in zip(IMAGES, (1, 7, 0, 3), strict=True):
        corners = generator.uniform(0, 1, (count, 2, 2)) * (width, height)
        low, high = corners.min(axis=1), corners.max(axis=1) + 1
        boxes.append(np.concatenate([low, high], axis=1).tolist())
    masks = FGFILoss(ANCHORS).imitation_masks(SIZES, data_samples(boxes))
    for mask, expected in zip(masks, brute_masks(boxes), strict=True):
        assert np.array_equal(mask[:, 0].numpy(), expected)


def test_masks_do_not_depend_on_how_many_boxes_are_compared_at_once(monkeypatch):
    loss = FGFILoss(ANCHORS)
    masks = loss.imitation_masks(SIZES, data_samples())
    monkeypatch.setattr(fgfi, '_PAIRS', 2 * SIZES[0][0] * SIZES[0][1] * 6)
    for some, every in zip(loss.imitation_masks(SIZES, data_samples()), masks, strict=True):
        assert torch.equal(some, every)


def test_padding_is_not_imitated_and_does_not_matter():
    boxes, image = [[[34, 34, 40, 40], [5, 5, 14, 12]]], [(40, 40)]
    # Anchors so small that the first box is nearest to one on the padding.
    loss = FGFILoss({**ANCHORS, 'scales': [1]})
    tight = loss.imitation_masks([(5, 5), (3, 3), (2, 2)], data_samples(boxes, image, (40, 40)))
    padded = loss.imitation_masks(SIZES, data_samples(boxes, image))
    for small, large in zip(tight, padded, strict=True):
        height, width = small.shape[2:]
        assert torch.equal(large[..., :height, :width], small)
        assert large.sum() == small.sum()


def test_equals_the_definition():
    student, teacher = levels(3), levels(4, seed=1)
    loss = build(student, teacher, loss_weight=0.01)
    expected = 0.01 * reference(loss, student, teacher, brute_masks())
    assert loss(student, teacher, data_samples()).item() == pytest.approx(expected)


def test_adaptation_is_a_3x3_convolution_and_a_relu():
    student, teacher = levels(3), levels(4, seed=1)
    loss = build(student, teacher)
    convolution, relu = loss.adaptations[0]
    assert convolution.weight.shape == (4, 3, 3, 3)
    assert isinstance(relu, torch.nn.ReLU)
    assert convolution(student[0]).shape == teacher[0].shape


def test_only_masked_positions_of_the_teacher_matter():
    student, teacher = levels(3), levels(3, seed=1)
    loss = build(student, teacher)
    value = loss(student, teacher, data_samples()).item()
    masks = [torch.from_numpy(mask)[:, None] for mask in brute_masks()]
    elsewhere = [t + ~mask * 100.0 for t, mask in zip(teacher, masks, strict=True)]
    assert loss(student, elsewhere, data_samples()).item() == pytest.approx(value)
    inside = [t + mask * 100.0 for t, mask in zip(teacher, masks, strict=True)]
    assert loss(student, inside, data_samples()).item() > 10 * value


def test_gradient_reaches_features_and_adaptations():
    sizes = [(2, 3), (1, 2), (1, 1)]
    student = [x.requires_grad_() for x in levels(2, 1, sizes)]
    teacher = levels(2, 1, sizes, seed=1)
    samples = data_samples([[[2, 2, 12, 12]]], [(16, 24)], (16, 24))
    loss = build(student, teacher)
    assert torch.autograd.gradcheck(lambda *s: loss(s, teacher, samples), student)
    loss(student, teacher, samples).backward()
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())


def test_a_batch_without_ground_truth_has_zero_loss_and_zero_gradients():
    student, teacher = [x.requires_grad_() for x in levels(3)], levels(4, seed=1)
    loss = build(student, teacher)
    value = loss(student, teacher, data_samples([[], [], [], []]))
    value.backward()
    assert value == 0
    assert all(torch.equal(x.grad, torch.zeros_like(x)) for x in [*student, *loss.parameters()])


def joint_of_two_processes(loss, student, teacher, samples, split, monkeypatch):
    """Run the two parts of a batch as two processes would; the mean of their losses."""
    parts = [slice(None, split), slice(split, None)]

    def run():
        return [loss([s[i] for s in student], [t[i] for t in teacher], samples[i]) for i in parts]

    counts = []
    monkeypatch.setattr(fgfi, 'get_world_size', lambda: 2)
    monkeypatch.setattr(fgfi, 'all_reduce', lambda data, op: counts.append(data.clone()))
    run()
    reduced = dict(sum=sum(counts), mean=sum(counts) / 2)
    monkeypatch.setattr(fgfi, 'all_reduce', lambda data, op: data.copy_(reduced[op]))
    return sum(run()) / 2


@pytest.mark.parametrize('split', [1, 2, 3])
def test_processes_average_to_the_joint_batch(split, monkeypatch):
    student, teacher, samples = levels(3), levels(4, seed=1), data_samples()
    loss = build(student, teacher)
    expected = loss(student, teacher, samples).item()
    mean = joint_of_two_processes(loss, student, teacher, samples, split, monkeypatch)
    assert mean.item() == pytest.approx(expected)


def test_a_process_without_ground_truth_does_not_change_the_joint_batch(monkeypatch):
    student, teacher = levels(3, 2), levels(4, 2, seed=1)
    samples = data_samples([[[32, 32, 48, 48]], []], [BATCH, BATCH])
    loss = build(student, teacher, psi=0.9)
    assert loss.imitation_masks(SIZES, samples)[0].sum() == 1
    expected = loss(student, teacher, samples).item()
    mean = joint_of_two_processes(loss, student, teacher, samples, 1, monkeypatch)
    assert mean.item() == pytest.approx(expected)


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student, teacher = levels(3), levels(4, seed=1)
    check_autocast(build(student, teacher).float(), student, teacher, data_samples())


def test_levels_that_are_not_the_anchor_generators_are_refused():
    maps = levels(3)
    with pytest.raises(ValueError, match=r'anchor_generator has 3 levels.*the taps give 2'):
        build(maps[:2], maps[:2])
    with pytest.raises(ValueError, match=r'anchor_generator has the strides.*images of 128x192'):
        build(maps, maps)(maps, maps, data_samples(batch=(128, 192)))


def test_wrong_shapes_and_settings_are_refused():
    maps = levels(3)
    with pytest.raises(ValueError, match=r'FGFILoss compares maps of equal height and width'):
        build(maps, [t[..., 1:] for t in maps])
    with pytest.raises(ValueError, match=r'psi must be in \[0, 1\), found psi=1.0'):
        FGFILoss(ANCHORS, psi=1.0)
