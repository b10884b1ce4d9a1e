import math

import pytest
import torch
from mmpretrain.structures import DataSample

from mmkd.losses import DKDLoss, KLDivergenceLoss

LABELS = [0, 4, 2, 2, 1, 3]


def samples(labels):
    return [DataSample().set_gt_label(label) for label in labels]


def softmax(row, tau):
    exps = [math.exp(v / tau) for v in row]
    return [e / sum(exps) for e in exps]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def reference(student, teacher, alpha, beta, tau):
    total = 0.0
    for s, t, y in zip(student.tolist(), teacher.tolist(), LABELS, strict=True):
        p_s, p_t = softmax(s, tau), softmax(t, tau)
        binary = [[p[y], 1 - p[y]] for p in (p_t, p_s)]
        rest = [[v / (1 - p[y]) for k, v in enumerate(p) if k != y] for p in (p_t, p_s)]
        total += alpha * kl(*binary) + beta * kl(*rest)
    return tau**2 * total / len(student)


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(6, 5, dtype=torch.float64, generator=generator) * 3 for _ in range(2)]


@pytest.mark.parametrize('weights', [(1.0, 8.0), (1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_equals_the_definition(logits, weights, tau):
    loss = DKDLoss(*weights, tau=tau, loss_weight=2.0)
    expected = 2 * reference(*logits, *weights, tau)
    assert loss(*logits, samples(LABELS)).item() == pytest.approx(expected)


def test_defaults_are_those_of_the_paper(logits):
    expected = reference(*logits, alpha=1, beta=8, tau=4)
    assert DKDLoss()(*logits, samples(LABELS)).item() == pytest.approx(expected)


@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_kl_divergence_is_the_case_of_beta_the_teachers_non_target_probability(logits, tau):
    for s, t, y in zip(*logits, LABELS, strict=True):
        beta = 1 - (t / tau).softmax(0)[y].item()
        dkd = DKDLoss(alpha=1.0, beta=beta, tau=tau)(s[None], t[None], samples([y]))
        assert torch.allclose(dkd, KLDivergenceLoss(tau=tau)(s[None], t[None]))


def test_gradient(logits):
    student, teacher = logits
    labels = samples(LABELS)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: DKDLoss()(s, teacher, labels), student)


def test_target_class_term_does_not_order_the_other_classes(logits):
    """NCKD alone sees them: their order moves it, and the target's logit does not."""
    student, teacher = logits[0][:1], logits[1][:1]
    label = samples([0])
    reordered = student[:, [0, 3, 1, 4, 2]]
    shifted = student + torch.tensor([[5.0, 0, 0, 0, 0]])
    tckd, nckd = DKDLoss(beta=0.0), DKDLoss(alpha=0.0)
    assert torch.allclose(tckd(student, teacher, label), tckd(reordered, teacher, label))
    assert not torch.allclose(tckd(student, teacher, label), tckd(shifted, teacher, label))
    assert torch.allclose(nckd(student, teacher, label), nckd(shifted, teacher, label))
    assert not torch.allclose(nckd(student, teacher, label), nckd(reordered, teacher, label))


def test_zero_loss_and_gradient_where_predictions_agree(logits):
    student = logits[0].requires_grad_()
    loss = DKDLoss()(student, student.detach() + 1, samples(LABELS))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max() < 1e-12


def test_several_logits_are_averaged(logits):
    student, teacher = logits
    labels = samples(LABELS)
    both = DKDLoss()([student, teacher], [teacher, teacher], labels)
    assert both.item() == pytest.approx(DKDLoss()(student, teacher, labels).item() / 2)


def test_certain_teacher_still_teaches_the_other_classes():
    """Where the target's probability rounds to one, the others keep their ratios."""
    student = torch.zeros(1, 3)
    teacher = torch.tensor([[200.0, math.log(3.0), 0.0]])
    loss = DKDLoss(alpha=0.0, beta=1.0, tau=1.0)(student, teacher, samples([0]))
    assert loss.item() == pytest.approx(kl([0.75, 0.25], [0.5, 0.5]), rel=1e-5)


def test_labels_of_rois_are_the_students_last_tap(logits):
    """Class 4 of 5 is the background, a target like any other."""
    student, teacher = logits
    student.requires_grad_()
    loss = DKDLoss(alpha=1.0, beta=0.25, tau=1.0)
    rois = [student, torch.tensor(LABELS)]
    loss.build(rois, teacher)
    value = loss(rois, teacher)
    assert value.item() == pytest.approx(reference(student, teacher, 1.0, 0.25, 1.0))
    assert torch.autograd.gradcheck(lambda s: loss([s, rois[1]], teacher), student)


def test_no_rois_cost_nothing(logits):
    student, teacher = (x[:0].requires_grad_() for x in logits)
    value = DKDLoss()([student, torch.zeros(0, dtype=torch.long)], teacher)
    value.backward()
    assert value == 0


def test_rows_of_rois_without_labels_are_refused_at_build(logits):
    with pytest.raises(ValueError, match=r'2 images gave 6 rows, as a RoI head.*loss_cls:input'):
        DKDLoss().build(*logits)


def test_half_precision_logits_of_1e4_stay_finite(check_autocast, logits):
    check_autocast(DKDLoss(tau=1.0), logits[:1], logits[1:], samples(LABELS))


def test_batches_without_one_hard_label_per_row_are_refused(logits):
    loss = DKDLoss()
    with pytest.raises(ValueError, match='found no data samples'):
        loss(*logits)
    mixed = samples(LABELS)
    mixed[0].set_gt_score(torch.tensor([0.3, 0.7, 0.0, 0.0, 0.0]))
    with pytest.raises(ValueError, match='found gt_score; remove batch_augments'):
        loss(*logits, mixed)
    with pytest.raises(ValueError, match='found 7 labels for 6 rows'):
        loss(*logits, samples([*LABELS[:5], [1, 2]]))


def test_other_classes_and_bad_tau_are_refused():
    loss = DKDLoss()
    with pytest.raises(ValueError, match=r'\(2, 5\).*\(2, 7\).*same classes'):
        loss.build(torch.zeros(2, 5), torch.zeros(2, 7))
    with pytest.raises(ValueError, match=r'DKDLoss takes logits \(N, K\).*\(2, 5, 1, 1\)'):
        loss.build(torch.zeros(2, 5, 1, 1), torch.zeros(2, 5, 1, 1))
    with pytest.raises(ValueError, match='tau must be positive, found tau=0'):
        DKDLoss(tau=0)
