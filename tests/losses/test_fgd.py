import math

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmkd.losses import FGDLoss
from mmkd.losses.fgd import GlobalContext, scale_masks

WEIGHTS = dict(alpha_fgd=1.0, beta_fgd=0.7, gamma_fgd=0.3, lambda_fgd=0.1)
BOXES = [
    [[3.0, 5.0, 17.0, 9.0], [1.0, 2.0, 30.0, 21.0], [26.0, 4.0, 40.0, 32.0]],
    [],
    [[0, 0, 9, 8]],
]
IMAGE, SIZE = (32, 40), (4, 5)


def data_samples(boxes=BOXES, image=IMAGE):
    samples = []
    for box in boxes:
        sample = DetDataSample(metainfo=dict(img_shape=image, batch_input_shape=image))
        box = torch.tensor(box, dtype=torch.float32).reshape(-1, 4)
        sample.gt_instances = InstanceData(bboxes=box)
        samples.append(sample)
    return samples


def maps(channels, count=3, size=SIZE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, *size, dtype=torch.float64, generator=generator)


def build(student, teacher, **kwargs):
    """The loss with all parameters drawn at random: some start at zero."""
    torch.manual_seed(0)
    loss = FGDLoss(**{**WEIGHTS, **kwargs})
    loss.build(student, teacher)
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return loss.double()


def brute_masks(boxes, image=IMAGE, size=SIZE):
    """Box by box, position by position."""
    foreground = np.zeros((len(boxes), *size))
    for n, image_boxes in enumerate(boxes):
        for x1, y1, x2, y2 in image_boxes:
            left, right = math.floor(x1 * size[1] / image[1]), math.ceil(x2 * size[1] / image[1])
            top, bottom = math.floor(y1 * size[0] / image[0]), math.ceil(y2 * size[0] / image[0])
            weight = 1 / ((right - left + 1) * (bottom - top + 1))
            for y in range(top, min(bottom, size[0] - 1) + 1):
                for x in range(left, min(right, size[1] - 1) + 1):
                    foreground[n, y, x] = max(foreground[n, y, x], weight)
    background = (foreground == 0).astype(float)
    for image_background in background:
        image_background /= max(image_background.sum(), 1)
    return foreground, background


def softmax(array):
    exponential = np.exp(array - array.max())
    return exponential / exponential.sum()


def context(module, feature):
    """One image, (C, H, W), through a global context block."""
    channels = len(feature)
    first, norm, _, second = module.transform

    def weight(layer):
        return layer.weight.detach().numpy().squeeze()

    logits = (weight(module.attention)[:, None, None] * feature).sum(axis=0)
    attention = softmax(logits + module.attention.bias.item())
    gathered = (feature * attention).reshape(channels, -1).sum(axis=1)
    hidden = weight(first) @ gathered + first.bias.detach().numpy()
    hidden = (hidden - hidden.mean()) / np.sqrt(hidden.var() + norm.eps)
    hidden = np.maximum(hidden * weight(norm) + norm.bias.detach().numpy().squeeze(), 0)
    return feature + (weight(second) @ hidden + second.bias.detach().numpy())[:, None, None]


def reference(loss, student, teacher, boxes=BOXES):
    """Image by image."""
    total = 0.0
    foregrounds, backgrounds = brute_masks(boxes)
    channels = teacher.shape[1]
    for s, t, foreground, background in zip(
        student, teacher, foregrounds, backgrounds, strict=True
    ):
        spatial_s, spatial_t = (
            s[0].size * softmax(np.abs(x).mean(axis=0) / loss.temp) for x in (s, t)
        )
        channel_s, channel_t = (
            channels * softmax(np.abs(x).mean(axis=(1, 2)) / loss.temp) for x in (s, t)
        )
        for c in range(channels):
            error = (t[c] - s[c]) ** 2 * spatial_t * channel_t[c]
            total += loss.alpha_fgd * (error * foreground).sum()
            total += loss.beta_fgd * (error * background).sum()
        total += loss.gamma_fgd * np.abs(spatial_s - spatial_t).sum()
        total += loss.gamma_fgd * np.abs(channel_s - channel_t).sum()
        ours, theirs = context(loss.student_contexts[0], s), context(loss.teacher_contexts[0], t)
        total += loss.lambda_fgd * ((ours - theirs) ** 2).sum()
    return total / len(teacher)


def test_equals_the_definition():
    student, teacher = maps(6), maps(6, seed=1)
    loss = build(student, teacher, temp=0.8, loss_weight=2.0)
    expected = 2 * reference(loss, student.numpy(), teacher.numpy())
    value = loss(student, teacher, data_samples()).item()
    assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('weight', WEIGHTS)
def test_each_term_alone_equals_the_definition(weight):
    student, teacher = maps(6), maps(6, seed=1)
    loss = build(student, teacher, **{**dict.fromkeys(WEIGHTS, 0.0), weight: 1.0})
    expected = reference(loss, student.numpy(), teacher.numpy())
    assert expected > 0
    value = loss(student, teacher, data_samples()).item()
    assert value == pytest.approx(expected, rel=1e-6)


def test_student_channels_are_aligned():
    student, teacher = maps(3), maps(6, seed=1)
    loss = build(student, teacher)
    aligned = loss.aligns[0](student).detach().numpy()
    expected = reference(loss, aligned, teacher.numpy())
    value = loss(student, teacher, data_samples()).item()
    assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('size', [SIZE, (3, 7)])
@pytest.mark.parametrize('seed', range(3))
def test_masks_equal_a_brute_force_loop(seed, size):
    generator = np.random.default_rng(seed)
    boxes = []
    for count in (5, 0, 2):
        corners = generator.uniform(0, 1, (count, 2, 2)) * IMAGE[::-1]
        boxes.append(np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1))
    padded = torch.zeros(3, 6, 4)
    for image, box in zip(padded, boxes, strict=True):
        image[: len(box)] = torch.from_numpy(box)
    masks = scale_masks(padded, size, IMAGE)
    for mask, expected in zip(masks, brute_masks(boxes, size=size), strict=True):
        assert np.allclose(mask[:, 0].numpy(), expected)


def test_the_smallest_of_overlapping_boxes_counts():
    boxes = torch.tensor([[[0.0, 0.0, 40.0, 32.0], [8.0, 8.0, 16.0, 16.0]]])
    foreground, background = scale_masks(boxes, SIZE, IMAGE)
    assert foreground[0, 0, 1, 1].item() == pytest.approx(1 / 4)
    assert foreground[0, 0, 3, 4].item() == pytest.approx(1 / 30)
    assert background.sum() == 0


def test_boxes_are_scaled_by_the_padded_size():
    boxes = [[[3.0, 2.0, 17.0, 14.0]]] * 3
    student, teacher, samples = maps(6), maps(6, seed=1), data_samples(boxes)
    loss = build(student, teacher)
    for sample in samples:
        sample.set_metainfo(dict(img_shape=(16, 20)))
    expected = reference(loss, student.numpy(), teacher.numpy(), boxes)
    assert loss(student, teacher, samples).item() == pytest.approx(expected, rel=1e-6)


def test_background_weighs_one_in_every_image_that_has_any():
    _, background = scale_masks(torch.tensor([[[9.0, 9.0, 12.0, 12.0]], [[0.0] * 4]]), SIZE, IMAGE)
    assert background.sum(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1])


def test_a_new_global_context_passes_the_map_on():
    feature = maps(6).float()
    assert torch.equal(GlobalContext(6)(feature), feature)


def test_several_levels_add_up():
    student, teacher = [maps(4), maps(4, size=(2, 3))], [maps(4, seed=1), maps(4, 3, (2, 3), 1)]
    both = build(student, teacher)
    total = 0.0
    for i in range(2):
        one = build(student[i], teacher[i])
        one.student_contexts[0] = both.student_contexts[i]
        one.teacher_contexts[0] = both.teacher_contexts[i]
        total += one(student[i], teacher[i], data_samples()).item()
    assert both(student, teacher, data_samples()).item() == pytest.approx(total)


def test_gradient_reaches_feature_and_all_layers():
    student, teacher = maps(3, size=(2, 3)).requires_grad_(), maps(4, size=(2, 3), seed=1)
    loss = build(student, teacher)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, data_samples()), student)
    loss(student, teacher, data_samples()).backward()
    # A softmax does not change with the bias of its logits.
    reached = {n: p.grad for n, p in loss.named_parameters() if not n.endswith('attention.bias')}
    assert all(gradient.abs().sum() > 0 for gradient in reached.values())


def test_a_batch_without_ground_truth_is_all_background():
    student, teacher = maps(4).requires_grad_(), maps(4, seed=1)
    loss = build(student, teacher)
    value = loss(student, teacher, data_samples([[], [], []]))
    expected = reference(loss, student.detach().numpy(), teacher.numpy(), [[], [], []])
    assert value.item() == pytest.approx(expected, rel=1e-6)
    value.backward()
    assert student.grad.isfinite().all()


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student, teacher = maps(3), maps(6, seed=1)
    loss = FGDLoss()
    loss.build(student, teacher)
    check_autocast(loss, [student], [teacher], data_samples())


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match='temp must be positive, found temp=0'):
        FGDLoss(temp=0)
    with pytest.raises(ValueError, match=r'FGDLoss .*\(3, 2, 4, 5\) and .*same stride'):
        build(maps(2), maps(2, size=(2, 3)))
