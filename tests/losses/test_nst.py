import itertools

import pytest
import torch
import torch.nn.functional as F

from mmkd.losses import NSTLoss


def maps(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def channels(sample):
    """Channels of one sample (C, H, W), each of unit length."""
    rows = [channel.flatten().tolist() for channel in sample]
    return [[v / sum(w**2 for w in row) ** 0.5 for v in row] for row in rows]


def kernel(first, second):
    values = [
        sum(a * b for a, b in zip(x, y, strict=True)) ** 2
        for x, y in itertools.product(first, second)
    ]
    return sum(values) / len(values)


def reference(student, teacher):
    total = 0.0
    for sample_s, sample_t in zip(student, teacher, strict=True):
        s, t = channels(sample_s), channels(sample_t)
        total += kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)
    return total / len(student)


def test_equals_the_definition():
    student, teacher = maps(3, 4, 2, 3), maps(3, 5, 2, 3, seed=1)
    loss = NSTLoss(loss_weight=50.0)
    assert loss(student, teacher).item() == pytest.approx(50 * reference(student, teacher))


def test_larger_map_is_average_pooled():
    student, teacher = maps(2, 3, 4, 4), maps(2, 5, 2, 2, seed=1)
    pooled = F.avg_pool2d(student, 2)
    assert NSTLoss()(student, teacher).item() == pytest.approx(reference(pooled, teacher))
    assert NSTLoss()(teacher, student).item() == pytest.approx(reference(teacher, pooled))


def test_several_levels_add_up():
    student = [maps(2, 3, 4, 4), maps(2, 6, 2, 2)]
    teacher = [maps(2, 4, 4, 4, seed=1), maps(2, 8, 2, 2, seed=1)]
    parts = sum(reference(s, t) for s, t in zip(student, teacher, strict=True))
    assert NSTLoss()(student, teacher).item() == pytest.approx(parts)


def test_gradient():
    student, teacher = maps(2, 3, 2, 2).requires_grad_(), maps(2, 2, 2, 2, seed=1)
    assert torch.autograd.gradcheck(lambda s: NSTLoss()(s, teacher), student)


def test_order_and_scale_of_channels_change_nothing():
    student, teacher = maps(2, 4, 3, 3), maps(2, 5, 3, 3, seed=1)
    scales = maps(2, 4, 1, 1, seed=2).exp()
    changed = NSTLoss()((scales * student)[:, [2, 0, 3, 1]], teacher[:, [4, 3, 2, 1, 0]])
    assert torch.allclose(NSTLoss()(student, teacher), changed)


def test_zero_where_the_channels_are_distributed_alike():
    teacher = maps(2, 3, 3, 3)
    student = teacher.repeat(1, 2, 1, 1).requires_grad_()
    loss = NSTLoss()(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-15)
    assert student.grad.abs().max() < 1e-15


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    check_autocast(NSTLoss(), [maps(2, 3, 4, 4)], [maps(2, 5, 4, 4, seed=1)])


def test_vectors_are_refused():
    with pytest.raises(ValueError, match=r'NSTLoss takes maps.*\(2, 3\).*tap stages'):
        NSTLoss().build(torch.zeros(2, 3), torch.zeros(2, 3))
