import math

import pytest
import torch

from mmkd.losses import KLDivergenceLoss


def softmax(row):
    exps = [math.exp(v - max(row)) for v in row]
    return [e / sum(exps) for e in exps]


def reference(student, teacher, tau):
    """The definition, entry by entry."""
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p_s, p_t = softmax([v / tau for v in s]), softmax([v / tau for v in t])
        total += sum(b * math.log(b / a) for a, b in zip(p_s, p_t, strict=True))
    return tau**2 * total / len(student)


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(6, 5, dtype=torch.float64, generator=generator) * 3 for _ in range(2)]


@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_equals_the_definition(logits, tau):
    student, teacher = logits
    loss = KLDivergenceLoss(tau=tau, loss_weight=2.0)
    assert loss(student, teacher).item() == pytest.approx(2 * reference(student, teacher, tau))


def test_gradient(logits):
    student, teacher = logits
    loss = KLDivergenceLoss(tau=2.0)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student.requires_grad_())


def test_shift_of_logits_changes_nothing(logits):
    student, teacher = logits
    loss = KLDivergenceLoss()
    shifted = loss(student + torch.randn(6, 1), teacher - 7)
    assert torch.allclose(loss(student, teacher), shifted)


def test_zero_loss_and_gradient_where_predictions_agree(logits):
    student = logits[0].requires_grad_()
    loss = KLDivergenceLoss()(student, student.detach() + 1)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max() < 1e-12


def test_several_logits_are_averaged(logits):
    student, teacher = logits
    loss = KLDivergenceLoss()
    both = loss([student, teacher], [teacher, teacher])
    assert both.item() == pytest.approx(loss(student, teacher).item() / 2)


def test_no_rows_give_zero_and_stay_in_the_graph():
    student = torch.zeros(0, 5, requires_grad=True)
    loss = KLDivergenceLoss()(student, torch.zeros(0, 5))
    loss.backward()
    assert loss == 0
    assert student.grad.shape == (0, 5)


def test_half_precision_logits_of_1e4_stay_finite(check_autocast, logits):
    check_autocast(KLDivergenceLoss(tau=1.0), logits[:1], logits[1:])


def test_other_classes_are_refused():
    loss = KLDivergenceLoss()
    with pytest.raises(ValueError, match=r'\(2, 5\).*\(2, 7\).*same classes'):
        loss.build(torch.zeros(2, 5), torch.zeros(2, 7))
    with pytest.raises(ValueError, match=r'takes logits \(N, K\)'):
        loss.build(torch.zeros(2, 5, 1, 1), torch.zeros(2, 5, 1, 1))
    with pytest.raises(ValueError, match=r'\(2, 5\).*\(3, 5\)'):
        loss(torch.zeros(2, 5), torch.zeros(3, 5))
    with pytest.raises(ValueError, match='tau must be positive, found tau=0'):
        KLDivergenceLoss(tau=0)
