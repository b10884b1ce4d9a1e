import pytest
import torch
import torch.nn.functional as F

from mmkd.losses import FSPLoss


def levels(seed=0, sizes=((3, 4, 2), (5, 4, 2), (2, 4, 2))):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, *size, dtype=torch.float64, generator=generator) for size in sizes]


def flow(first, second):
    """FSP matrix of one sample, entry by entry."""
    positions = [(y, x) for y in range(first.shape[1]) for x in range(first.shape[2])]
    return [
        [sum((a[p] * b[p]).item() for p in positions) / len(positions) for b in second]
        for a in first
    ]


def reference(student, teacher):
    total = 0.0
    for level in range(len(student) - 1):
        errors = []
        for n in range(len(student[0])):
            g_s = flow(student[level][n], student[level + 1][n])
            g_t = flow(teacher[level][n], teacher[level + 1][n])
            for row_s, row_t in zip(g_s, g_t, strict=True):
                errors += [(a - b) ** 2 for a, b in zip(row_s, row_t, strict=True)]
        total += sum(errors) / len(errors)
    return total


def test_equals_the_definition():
    student, teacher = levels(), levels(seed=1)
    loss = FSPLoss(loss_weight=50.0)
    assert loss(student, teacher).item() == pytest.approx(50 * reference(student, teacher))


def test_larger_map_of_a_stage_is_average_pooled():
    sizes = (3, 4, 4), (5, 2, 2)
    student, teacher = levels(sizes=sizes), levels(seed=1, sizes=sizes)
    pooled = ([F.avg_pool2d(side[0], 2), side[1]] for side in (student, teacher))
    assert FSPLoss()(student, teacher).item() == pytest.approx(reference(*pooled))


def test_gradient_reaches_every_level():
    student, teacher = [x.requires_grad_() for x in levels()], levels(seed=1)
    assert torch.autograd.gradcheck(lambda *s: FSPLoss()(s, teacher), student)
    FSPLoss()(student, teacher).backward()
    assert all(x.grad.abs().sum() > 0 for x in student)


def test_same_shuffle_of_positions_in_both_maps_changes_nothing():
    student, teacher = levels(), levels(seed=1)
    shuffled = [x.flatten(2)[..., [5, 2, 7, 0, 1, 4, 6, 3]].unflatten(2, (4, 2)) for x in student]
    assert torch.allclose(FSPLoss()(student, teacher), FSPLoss()(shuffled, teacher))


def test_zero_where_the_flow_agrees_at_another_size_and_scale():
    teacher = levels()[:2]
    student = [F.interpolate(x, scale_factor=2) for x in teacher]
    student = [(4 * student[0]).requires_grad_(), (student[1] / 4).requires_grad_()]
    loss = FSPLoss()(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-30)
    assert all(x.grad.abs().max() < 1e-15 for x in student)


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    # The gradient grows with the cube of the features; at weight 1 it is beyond float16.
    check_autocast(FSPLoss(loss_weight=1e-6), levels(), levels(seed=1))


def test_levels_that_give_no_flow_are_refused():
    loss, student = FSPLoss(), levels()
    with pytest.raises(ValueError, match='takes two or more, found 1'):
        loss.build(student[0], student[0])
    with pytest.raises(ValueError, match='equal channels in student and teacher, found 5 and 3'):
        loss.build(student[:2], [student[0], student[0]])
    with pytest.raises(ValueError, match=r'FSPLoss takes maps.*\(2, 3\)'):
        loss.build([torch.zeros(2, 3), student[0]], student[:2])
