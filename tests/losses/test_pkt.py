import math

import pytest
import torch

from mmkd.losses import PKTLoss


def vectors(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def probabilities(rows):
    def cosine(x, y):
        dot = sum(a * b for a, b in zip(x, y, strict=True))
        return dot / (sum(a**2 for a in x) * sum(b**2 for b in y)) ** 0.5

    kernel = [[(cosine(x, y) + 1) / 2 for y in rows] for x in rows]
    return [[value / sum(row) for value in row] for row in kernel]


def reference(student, teacher):
    p_s, p_t = probabilities(student.tolist()), probabilities(teacher.tolist())
    size = len(p_s)
    return (
        sum(p_t[i][j] * math.log(p_t[i][j] / p_s[i][j]) for i in range(size) for j in range(size))
        / size**2
    )


def test_equals_the_definition():
    student, teacher = vectors(5, 3), vectors(5, 4, seed=1)
    loss = PKTLoss(loss_weight=30000.0)
    # The authors' eps of 1e-7 beside the probabilities is not in the definition.
    expected = pytest.approx(30000 * reference(student, teacher), rel=1e-5)
    assert loss(student, teacher).item() == expected


def test_several_levels_add_up():
    student, teacher = vectors(4, 3), vectors(4, 5, seed=1)
    both = PKTLoss()([student, teacher], [teacher, student])
    expected = reference(student, teacher) + reference(teacher, student)
    assert both.item() == pytest.approx(expected, rel=1e-5)


def test_gradient():
    student, teacher = vectors(4, 3).requires_grad_(), vectors(4, 5, seed=1)
    assert torch.autograd.gradcheck(lambda s: PKTLoss()(s, teacher), student)


def test_rotation_of_features_and_length_of_each_change_nothing():
    student, teacher = vectors(5, 3), vectors(5, 3, seed=1)
    rotation = torch.linalg.qr(vectors(3, 3, seed=2)).Q
    lengths = vectors(5, 1, seed=3).exp()
    assert torch.allclose(
        PKTLoss()(student, teacher), PKTLoss()(lengths * student @ rotation, 7 * teacher)
    )


def test_zero_loss_and_gradient_where_similarities_agree():
    teacher = vectors(5, 3)
    student = (2 * teacher).requires_grad_()
    loss = PKTLoss()(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-15)
    assert student.grad.abs().max() < 1e-7  # the eps of the logarithm


def test_opposite_samples_have_finite_loss_and_gradient():
    student = torch.tensor([[1.0, 1e-3], [-1.0, -1e-3]], requires_grad=True)
    loss = PKTLoss()(student, torch.eye(2))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_single_sample_gives_zero_and_stays_in_the_graph():
    student = torch.randn(1, 3, requires_grad=True)
    loss = PKTLoss()(student, torch.randn(1, 5))
    loss.backward()
    assert loss == 0
    assert student.grad.abs().max() < 1e-6


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    check_autocast(PKTLoss(), [vectors(4, 6)], [vectors(4, 8, seed=1)])


def test_maps_are_refused():
    with pytest.raises(ValueError, match=r"PKTLoss takes vectors.*\(1, 4, 2, 2\).*'head.fc:input'"):
        PKTLoss().build(torch.zeros(1, 3), torch.zeros(1, 4, 2, 2))
