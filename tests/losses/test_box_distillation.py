import numpy as np
import pytest
import torch

from mmkd.losses import BoxDistillationLoss


def rows(n, columns, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, columns, dtype=torch.float64, generator=generator)


def sides(n=6, classes=3, agnostic=False):
    deltas = 4 if agnostic else 4 * classes
    teacher = [rows(n, deltas, 1, 2.0), rows(n, classes + 1, 2, 2.0)]
    return rows(n, deltas, 0, 2.0), teacher


def build(student, teacher, **kwargs):
    loss = BoxDistillationLoss(**kwargs)
    loss.build(student, teacher)
    return loss


def smooth_l1(difference):
    size = abs(difference)
    return 0.5 * size**2 if size < 1 else size - 0.5


def reference(student, teacher, logits):
    """RoI by RoI, class by class, coordinate by coordinate."""
    total, classes = 0.0, logits.shape[1] - 1
    for s, t, z in zip(student, teacher, logits, strict=True):
        p = np.exp(z) / np.exp(z).sum()
        for k in range(classes):
            box = slice(0, 4) if len(s) == 4 else slice(4 * k, 4 * k + 4)
            total += p[k] * sum(smooth_l1(a - b) for a, b in zip(s[box], t[box], strict=True))
    return total / len(student)


@pytest.mark.parametrize('agnostic', [False, True])
def test_equals_the_definition(agnostic):
    student, teacher = sides(agnostic=agnostic)
    loss = build(student, teacher, loss_weight=0.5)
    expected = 0.5 * reference(student.numpy(), *(x.numpy() for x in teacher))
    assert loss(student, teacher).item() == pytest.approx(expected)


def test_with_a_certain_teacher_it_is_the_loss_of_fast_rcnn():
    """One RoI of class 1 and one of background, as labels would have it."""
    student, (target, _) = sides(n=2)
    logits = torch.tensor([[-99.0, 99.0, -99.0, -99.0], [-99.0, -99.0, -99.0, 99.0]]).double()
    loss = build(student, [target, logits])
    expected = sum(smooth_l1(d) for d in (student - target)[0, 4:8].tolist()) / 2
    assert loss(student, [target, logits]).item() == pytest.approx(expected)


def test_background_and_other_classes_get_no_gradient():
    student, (target, _) = sides(n=2)
    logits = torch.tensor([[-999.0, 999.0, -999.0, -999.0], [-999.0, -999.0, -999.0, 999.0]])
    student.requires_grad_()
    loss = build(student, [target, logits])
    loss(student, [target, logits.double()]).backward()
    assert (student.grad[0, 4:8] != 0).all()
    student.grad[0, 4:8] = 0
    assert (student.grad == 0).all()


def test_gradient():
    student, teacher = sides()
    loss = build(student, teacher)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student.requires_grad_())


def test_equal_deltas_cost_nothing():
    student, (_, logits) = sides()
    assert build(student, [student, logits])(student, [student, logits]) == 0


def test_no_rois_give_zero_loss_and_zero_gradient():
    student, teacher = sides()
    loss = build(student, teacher)
    empty = student[:0].requires_grad_()
    value = loss(empty, [x[:0] for x in teacher])
    value.backward()
    assert value == 0
    assert empty.grad.shape == (0, 12)


def test_half_precision_deltas_of_1e4_stay_finite(check_autocast):
    student, (target, logits) = sides()
    check_autocast(build(student, [target, logits]), [student], [target, logits])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_compared_in_float32(dtype):
    student, teacher = sides()
    student, teacher = student.to(dtype), [x.to(dtype) for x in teacher]
    with torch.autocast('cpu', dtype=dtype):
        value = build(student, teacher)(student, teacher)
    expected = reference(*(x.double().numpy() for x in (student, *teacher)))
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_taps_that_cannot_be_compared_are_refused():
    student, (target, logits) = sides()
    with pytest.raises(ValueError, match=r"found \[\(6, 12\), \(6, 12\)\]; give student='roi_head"):
        build(student, target)
    with pytest.raises(ValueError, match='12 deltas, the teacher 4 and 4 class logits'):
        build(student, [target[:, :4], logits])
    with pytest.raises(ValueError, match='12 deltas, the teacher 12 and 3 class logits.*softmax'):
        build(student, [target, logits[:, :3]])
    with pytest.raises(ValueError, match='must see the same RoIs'):
        build(student, [target, logits])(student[:4], [target, logits])
