import itertools

import pytest
import torch

from mmkd.losses import RKDLoss


def vectors(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def smooth_l1(a, b):
    error = abs(a - b)
    return error**2 / 2 if error < 1 else error - 0.5


def distances(rows):
    size = len(rows)
    values = {
        (i, j): sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True)) ** 0.5
        for i, j in itertools.product(range(size), repeat=2)
    }
    positive = [v for v in values.values() if v > 0]
    return {pair: v / (sum(positive) / len(positive)) for pair, v in values.items()}


def cosines(rows):
    """Cosine of the angle at corner i between the directions to j and to k."""

    def direction(i, j):
        edge = [b - a for a, b in zip(rows[i], rows[j], strict=True)]
        length = sum(v**2 for v in edge) ** 0.5
        return [v / length for v in edge] if length else edge

    return {
        (i, j, k): sum(a * b for a, b in zip(direction(i, j), direction(i, k), strict=True))
        for i, j, k in itertools.product(range(len(rows)), repeat=3)
    }


def reference(student, teacher, distance_weight, angle_weight):
    total = 0.0
    for weight, relation in ((distance_weight, distances), (angle_weight, cosines)):
        s, t = relation(student.tolist()), relation(teacher.tolist())
        total += weight * sum(smooth_l1(s[key], t[key]) for key in s) / len(s)
    return total


@pytest.mark.parametrize('weights', [(25.0, 50.0), (1.0, 0.0), (0.0, 1.0)])
def test_equals_the_definition(weights):
    student, teacher = vectors(5, 3), vectors(5, 4, seed=1) ** 3
    loss = RKDLoss(*weights, loss_weight=2.0)
    assert loss(student, teacher).item() == pytest.approx(2 * reference(student, teacher, *weights))


def test_defaults_are_the_weights_of_the_paper():
    student, teacher = vectors(4, 3), vectors(4, 3, seed=1)
    expected = reference(student, teacher, distance_weight=25, angle_weight=50)
    assert RKDLoss()(student, teacher).item() == pytest.approx(expected)


def test_several_levels_add_up():
    student, teacher = vectors(4, 3), vectors(4, 3, seed=1)
    both = RKDLoss()([student, teacher], [teacher, student])
    assert both.item() == pytest.approx(2 * reference(student, teacher, 25, 50))


def test_gradient():
    student, teacher = vectors(4, 3).requires_grad_(), vectors(4, 5, seed=1)
    assert torch.autograd.gradcheck(lambda s: RKDLoss()(s, teacher), student)


@pytest.mark.parametrize('size', [1, 2, 4])
def test_corners_a_few_at_a_time_give_the_same(size, monkeypatch):
    student, teacher = vectors(5, 3).requires_grad_(), vectors(5, 4, seed=1)
    expected = RKDLoss()(student, teacher)
    (gradient,) = torch.autograd.grad(expected, student)
    monkeypatch.setattr('mmkd.losses.rkd._MAX_RELATIONS', size * 25)
    kept = []

    def keep(value):
        kept.append(value.numel())
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        loss = RKDLoss()(student, teacher)
    assert max(kept) <= 25
    assert torch.allclose(loss, expected, rtol=1e-12)
    assert torch.allclose(*torch.autograd.grad(loss, student), gradient, rtol=1e-10)


def test_scale_shift_and_rotation_of_features_change_nothing():
    student, teacher = vectors(5, 3), vectors(5, 3, seed=1)
    rotation = torch.linalg.qr(vectors(3, 3, seed=2)).Q
    moved = 20 * student @ rotation + vectors(3, seed=3)
    assert torch.allclose(RKDLoss()(student, teacher), RKDLoss()(moved, teacher / 7))


def test_zero_loss_and_gradient_where_relations_agree():
    teacher = vectors(5, 3)
    student = (2 * teacher + 1).requires_grad_()
    loss = RKDLoss()(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-24)
    assert student.grad.abs().max() < 1e-12


@pytest.mark.parametrize('others', [[[1.0, 0.0], [0.0, 0.0]], [[2.0, 3.0], [2.0, 3.0]]])
def test_samples_that_coincide_have_bounded_gradient(others):
    student = torch.tensor([[2.0, 3.0], [2.0, 3.0], *others], requires_grad=True)
    loss = RKDLoss()(student, vectors(4, 3).float())
    loss.backward()
    assert loss.isfinite()
    # An eps in the direction would turn this gradient into one of 1 / eps.
    assert student.grad.abs().max() < 100


def test_single_sample_gives_zero():
    student = torch.randn(1, 3, requires_grad=True)
    loss = RKDLoss()(student, torch.randn(1, 5))
    loss.backward()
    assert loss == 0
    assert (student.grad == 0).all()


def test_distances_between_close_features_of_1e4_keep_their_digits():
    step = torch.tensor([[0.0], [1.0], [3.0]])
    far = RKDLoss()(1e4 + step.expand(3, 8), step.expand(3, 8))
    assert far == pytest.approx(0, abs=1e-6)


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    check_autocast(RKDLoss(), [vectors(4, 6)], [vectors(4, 8, seed=1)])


def test_maps_are_refused():
    with pytest.raises(ValueError, match=r"RKDLoss takes vectors.*\(1, 4, 2, 2\).*'head.fc:input'"):
        RKDLoss().build(torch.zeros(1, 3), torch.zeros(1, 4, 2, 2))
