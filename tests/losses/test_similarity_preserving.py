import pytest
import torch

from mmkd.losses import SimilarityPreservingLoss


def features(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def similarities(feature):
    rows = [sample.flatten().tolist() for sample in feature]
    matrix = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
    return [[v / sum(w**2 for w in row) ** 0.5 for v in row] for row in matrix]


def reference(student, teacher):
    g_s, g_t = similarities(student), similarities(teacher)
    size = len(g_s)
    return sum((g_t[i][j] - g_s[i][j]) ** 2 for i in range(size) for j in range(size)) / size**2


def test_equals_the_definition():
    student, teacher = features(4, 3, 2, 2), features(4, 5, 3, 3, seed=1)
    loss = SimilarityPreservingLoss(loss_weight=3000.0)
    assert loss(student, teacher).item() == pytest.approx(3000 * reference(student, teacher))


def test_several_levels_add_up():
    student, teacher = features(4, 3, 2, 2), features(4, 5, seed=1)
    both = SimilarityPreservingLoss()([student, student], [teacher, 2 + teacher])
    parts = reference(student, teacher) + reference(student, 2 + teacher)
    assert both.item() == pytest.approx(parts)


def test_gradient():
    student, teacher = features(3, 2, 2, 2).requires_grad_(), features(3, 4, seed=1)
    assert torch.autograd.gradcheck(lambda s: SimilarityPreservingLoss()(s, teacher), student)


def test_zero_where_features_are_equal_up_to_an_orthogonal_map_and_scale():
    teacher = features(4, 6)
    orthogonal = torch.linalg.qr(features(6, 6, seed=1)).Q
    student = (3 * teacher @ orthogonal).requires_grad_()
    loss = SimilarityPreservingLoss()(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-28)
    assert student.grad.abs().max() < 1e-14


def test_single_sample_gives_zero_and_stays_in_the_graph():
    student = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = SimilarityPreservingLoss()(student, torch.randn(1, 5))
    loss.backward()
    assert loss == 0
    assert (student.grad == 0).all()


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student, teacher = features(4, 16, 4, 4), features(4, 8, 4, 4, seed=1)
    check_autocast(SimilarityPreservingLoss(), [student], [teacher])


def test_features_without_batch_are_refused():
    with pytest.raises(ValueError, match=r'takes features \(N, \.\.\.\).*\(4,\).*tap a stage'):
        SimilarityPreservingLoss().build(torch.zeros(4), torch.zeros(4, 3))
