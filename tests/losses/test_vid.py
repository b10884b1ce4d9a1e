import math

import pytest
import torch
import torch.nn.functional as F

from mmkd.losses import VIDLoss


def maps(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def build(student, teacher, **kwargs):
    torch.manual_seed(0)
    loss = VIDLoss(**kwargs)
    loss.build(student, teacher)
    return loss.double()


def reference(loss, student, teacher, level=0):
    """Pixel by pixel: three matrix products, then a Gaussian per channel."""
    weights = [loss.means[level][i].weight[:, :, 0, 0] for i in (0, 2, 4)]
    variances = [math.log1p(math.exp(a)) + 1e-5 for a in loss.raw_variances[level].tolist()]
    total = 0.0
    for n in range(student.shape[0]):
        for y in range(student.shape[2]):
            for x in range(student.shape[3]):
                mean = weights[0] @ student[n, :, y, x]
                mean = weights[1] @ mean.clamp(min=0)
                mean = (weights[2] @ mean.clamp(min=0)).tolist()
                for m, t, v in zip(mean, teacher[n, :, y, x].tolist(), variances, strict=True):
                    total += 0.5 * ((m - t) ** 2 / v + math.log(v))
    return total / teacher.numel()


def test_equals_the_definition():
    student, teacher = maps(2, 3, 4, 5), maps(2, 6, 4, 5, seed=1)
    loss = build(student, teacher, loss_weight=2.0)
    torch.nn.init.normal_(loss.raw_variances[0])
    assert loss(student, teacher).item() == pytest.approx(2 * reference(loss, student, teacher))


def test_several_levels_add_up():
    student = [maps(2, 3, 4, 4), maps(2, 4, 2, 2)]
    teacher = [maps(2, 5, 4, 4, seed=1), maps(2, 6, 2, 2, seed=1)]
    loss = build(student, teacher)
    parts = sum(reference(loss, student[i], teacher[i], level=i) for i in (0, 1))
    assert loss(student, teacher).item() == pytest.approx(parts)


@pytest.mark.parametrize('larger', ['student', 'teacher'])
def test_larger_map_is_average_pooled(larger):
    student, teacher = maps(2, 3, 4, 4), maps(2, 5, 4, 4, seed=1)
    small_student, small_teacher = F.avg_pool2d(student, 2), F.avg_pool2d(teacher, 2)
    loss = build(student, teacher)
    expected = reference(loss, small_student, small_teacher)
    if larger == 'student':
        assert loss(student, small_teacher).item() == pytest.approx(expected)
    else:
        assert loss(small_student, teacher).item() == pytest.approx(expected)


def test_variance_starts_at_5():
    """A teacher at the predicted mean leaves half the logarithm of the variance."""
    student, teacher = maps(2, 3, 4, 4), maps(2, 6, 4, 4)
    loss = build(student, teacher)
    mean = loss.means[0](student).detach()
    assert loss(student, mean).item() == pytest.approx(0.5 * math.log(5.0))


def test_best_variance_is_the_mean_squared_error_of_the_channel():
    student, teacher = maps(2, 3, 4, 4), maps(2, 6, 4, 4)
    loss = build(student, teacher)
    error = (loss.means[0](student) - teacher).square().mean(dim=(0, 2, 3)).detach()
    with torch.no_grad():
        loss.raw_variances[0].copy_(torch.log(torch.expm1(error - 1e-5)))
    loss(student, teacher).backward()
    assert loss.raw_variances[0].grad.abs().max() < 1e-12


def test_gradient_reaches_feature_means_and_variances():
    student, teacher = maps(1, 2, 2, 2).requires_grad_(), maps(1, 3, 2, 2, seed=1)
    loss = build(student, teacher)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)
    loss(student, teacher).backward()
    assert len(list(loss.parameters())) == 4
    assert all(parameter.grad.abs().sum() > 0 for parameter in loss.parameters())


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student, teacher = maps(2, 4, 4, 4), maps(2, 6, 4, 4, seed=1)
    check_autocast(build(student, teacher).float(), [student], [teacher])


def test_vectors_and_other_channels_are_refused():
    with pytest.raises(ValueError, match=r'VIDLoss takes maps.*\(2, 3\)'):
        build(torch.zeros(2, 3), torch.zeros(2, 3))
    loss = build(maps(2, 3, 4, 4), maps(2, 6, 4, 4))
    with pytest.raises(ValueError, match=r'\(2, 6, 4, 4\).*\(2, 5, 4, 4\).*teacher has changed'):
        loss(maps(2, 3, 4, 4), maps(2, 5, 4, 4))
