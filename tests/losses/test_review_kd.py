import numpy as np
import pytest
import torch

from mmkd.losses import ReviewKDLoss
from mmkd.losses.review_kd import AttentionBasedFusion, hierarchical_context_loss


def pooled(array, size):
    """Adaptive average pooling, window by window."""
    n, c, h, w = array.shape
    out = np.zeros((n, c, size, size))
    for i in range(size):
        for j in range(size):
            rows = slice(i * h // size, -(-(i + 1) * h // size))
            columns = slice(j * w // size, -(-(j + 1) * w // size))
            out[:, :, i, j] = array[:, :, rows, columns].mean(axis=(2, 3))
    return out


def reference_hcl(student, teacher):
    total, weights, weight = np.mean((student - teacher) ** 2), 1.0, 1.0
    for size in (4, 2, 1):
        if size < student.shape[2]:
            weight /= 2
            weights += weight
            total += weight * np.mean((pooled(student, size) - pooled(teacher, size)) ** 2)
    return total / weights


def nearest(array, size):
    """Nearest-neighbour resize: the source of output i is floor(i * in / out)."""
    rows = [i * array.shape[2] // size[0] for i in range(size[0])]
    columns = [j * array.shape[3] // size[1] for j in range(size[1])]
    return array[:, :, rows][:, :, :, columns]


def convolve(array, weight, bias=None):
    n, _, h, w = array.shape
    pad = weight.shape[2] // 2
    padded = np.pad(array, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((n, weight.shape[0], h, w))
    for y in range(h):
        for x in range(w):
            window = padded[:, :, y : y + weight.shape[2], x : x + weight.shape[3]]
            out[:, :, y, x] = np.tensordot(window, weight, axes=([1, 2, 3], [1, 2, 3]))
    return out if bias is None else out + bias[None, :, None, None]


def normalised(array, bn):
    mean, var = array.mean(axis=(0, 2, 3)), array.var(axis=(0, 2, 3))
    scaled = (array - mean[None, :, None, None]) / np.sqrt(var + bn.eps)[None, :, None, None]
    gamma, beta = bn.weight.detach().numpy(), bn.bias.detach().numpy()
    return scaled * gamma[None, :, None, None] + beta[None, :, None, None]


def reference(loss, student, teacher):
    """The forward of the paper in numpy, deepest level first."""
    total, residual = 0.0, None
    for fusion, s, t in list(zip(loss.fusions, student, teacher, strict=True))[::-1]:
        conv = fusion.reduce[0].weight.detach().numpy()
        x = normalised(convolve(s.numpy(), conv), fusion.reduce[1])
        if residual is not None:
            y = nearest(residual, x.shape[2:])
            attention = convolve(
                np.concatenate([x, y], axis=1),
                fusion.attention.weight.detach().numpy(),
                fusion.attention.bias.detach().numpy(),
            )
            attention = 1 / (1 + np.exp(-attention))
            x = x * attention[:, :1] + y * attention[:, 1:]
        residual = x = nearest(x, t.shape[2:])
        conv = fusion.expand[0].weight.detach().numpy()
        out = normalised(convolve(x, conv), fusion.expand[1])
        total += reference_hcl(out, t.numpy())
    return total


def levels(shapes, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]


STUDENT = [(2, 3, 8, 6), (2, 4, 4, 3), (2, 5, 2, 2)]
TEACHER = [(2, 6, 8, 6), (2, 4, 6, 5), (2, 7, 2, 2)]


def build(student, teacher, **kwargs):
    torch.manual_seed(0)
    loss = ReviewKDLoss(**kwargs)
    loss.build(student, teacher)
    return loss.double()


@pytest.mark.parametrize('size', [(1, 1), (2, 3), (4, 4), (5, 7), (9, 6)])
def test_hcl_equals_the_definition(size):
    student, teacher = levels([(2, 3, *size)] * 2, seed=1)
    value = hierarchical_context_loss(student, teacher)
    assert value.item() == pytest.approx(reference_hcl(student.numpy(), teacher.numpy()), rel=1e-9)


def test_equals_a_numpy_evaluation_of_the_paper():
    student, teacher = levels(STUDENT, 0), levels(TEACHER, 1)
    loss = build(student, teacher, loss_weight=0.5)
    expected = 0.5 * reference(loss, student, teacher)
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-9)


def test_gradient():
    student = levels([(2, 2, 4, 4), (2, 3, 2, 2)], 0)
    teacher = levels([(2, 3, 4, 4), (2, 2, 2, 2)], 1)
    loss = build(student, teacher, mid_channels=2)
    inputs = [s.requires_grad_() for s in student]
    assert torch.autograd.gradcheck(lambda *s: loss(s, teacher), inputs)


def test_a_level_learns_from_itself_and_deeper_levels_only():
    student, teacher = levels(STUDENT, 0), levels(TEACHER, 1)
    loss = build(student, teacher)
    inputs = [s.requires_grad_() for s in student]
    residual, grads = None, []
    for fusion, s, t in list(zip(loss.fusions, inputs, teacher, strict=True))[::-1]:
        out, residual = fusion(s, residual, t.shape[2:])
        grads.insert(
            0, torch.autograd.grad(out.square().sum(), inputs, retain_graph=True, allow_unused=True)
        )
    reached = [[g is not None and bool(g.abs().sum() > 0) for g in row] for row in grads]
    assert reached == [[True, True, True], [False, True, True], [False, False, True]]


def test_backward_keeps_no_map_of_both_inputs_of_the_attention():
    student, teacher = levels([(2, 3, 8, 8), (2, 5, 4, 4)], 0), levels([(2, 6, 8, 8)] * 2, 1)
    loss, kept = build(student, teacher), []

    def keep(value):
        kept.append(tuple(value.shape))
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        loss(student, teacher)
    assert any(shape[:2] == (2, 5) for shape in kept)
    assert not any(shape[:2] == (2, 10) for shape in kept)


def test_a_pooled_vector_is_a_map_of_one_pixel():
    student, teacher = (
        levels([(3, 4, 4, 4), (3, 5, 1, 1)], 0),
        levels([(3, 6, 4, 4), (3, 7, 1, 1)], 1),
    )
    loss = build(student, teacher)
    vectors = [student[0], student[1].flatten(1)], [teacher[0], teacher[1].flatten(1)]
    assert torch.equal(loss(student, teacher), loss(*vectors))


def test_residual_has_the_deepest_students_channels_at_most_512():
    for channels, expected in ((256, 256), (600, 512)):
        maps = [torch.zeros(1, 8, 2, 2), torch.zeros(1, channels, 1, 1)]
        loss = build(maps, maps)
        assert {fusion.reduce[0].out_channels for fusion in loss.fusions} == {expected}


def test_only_the_deepest_level_has_no_attention():
    loss = build(levels(STUDENT, 0), levels(TEACHER, 1))
    assert [fusion.attention is None for fusion in loss.fusions] == [False, False, True]
    assert isinstance(loss.fusions[0], AttentionBasedFusion)


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student, teacher = levels(STUDENT, 0), levels(TEACHER, 1)
    check_autocast(build(student, teacher).float(), student, teacher)


def test_wrong_order_and_shapes_are_refused():
    maps = levels(STUDENT, 0)
    with pytest.raises(ValueError, match=r'shallow to deep, found student heights \[2, 4, 8\]'):
        build(maps[::-1], levels(TEACHER, 1)[::-1])
    with pytest.raises(ValueError, match=r'maps \(N, C, H, W\) or vectors'):
        build([torch.zeros(1, 2, 3)], [torch.zeros(1, 2, 3)])
    with pytest.raises(ValueError, match='gives 3 tensor'):
        build(maps, maps[:2])


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_gradients_come_back_as_the_maps_lie_and_are_those_of_either_layout(layout):
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(2, c, n, n, dtype=torch.float64, generator=generator)
        for c, n in ((3, 8), (4, 4), (6, 2))
    ]
    teacher = [torch.rand_like(x) for x in maps]
    loss = ReviewKDLoss().double()
    loss.build(maps, teacher)
    loss.double()
    found = []
    for is_channels_last in (True, False):
        loss._is_channels_last = is_channels_last
        student = [x.contiguous(memory_format=layout).requires_grad_() for x in maps]
        # What a feature gets before anything is added to it.
        received = []
        features = [x * 1 for x in student]
        for feature in features:
            feature.register_hook(received.append)
        value = loss(features, teacher)
        value.backward()
        if is_channels_last:
            assert all(g.is_contiguous(memory_format=layout) for g in received)
        found.append([value.detach(), *(x.grad for x in student)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(('channels', 'expected'), [((3, 6), True), ((6, 6), False)])
def test_levels_as_wide_as_the_residual_are_left_as_they_lie(channels, expected):
    maps = [torch.rand(2, c, n, n) for c, n in zip(channels, (8, 4), strict=True)]
    loss = ReviewKDLoss()
    loss.build(maps, maps)
    assert loss._is_channels_last == expected
