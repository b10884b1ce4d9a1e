import numpy as np
import pytest
import torch

from mmkd.losses import DISTLoss


def reference(student, teacher, beta, gamma, tau):
    """Pearson correlations by NumPy, one row and one column at a time."""

    def softmax(z):
        exps = np.exp(z.numpy() / tau)
        return exps / exps.sum(axis=1, keepdims=True)

    def distance(s, t):
        return np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(s, t, strict=True)])

    s, t = softmax(student), softmax(teacher)
    return tau**2 * (beta * distance(s, t) + gamma * distance(s.T, t.T))


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(6, 5, dtype=torch.float64, generator=generator) for _ in range(2)]


@pytest.mark.parametrize('weights', [(1.0, 1.0), (2.0, 0.0), (0.0, 0.5)])
@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_equals_the_definition(logits, weights, tau):
    loss = DISTLoss(*weights, tau=tau, loss_weight=2.0)
    # The authors' eps of 1e-8 beside the norms is not in the definition.
    expected = pytest.approx(2 * reference(*logits, *weights, tau), rel=1e-5)
    assert loss(*logits).item() == expected


def test_gradient(logits):
    student, teacher = logits
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: DISTLoss(tau=2.0)(s, teacher), student)


def test_shift_of_logits_changes_nothing(logits):
    student, teacher = logits
    shifted = DISTLoss()(student + torch.randn(6, 1), teacher - 7)
    assert torch.allclose(DISTLoss()(student, teacher), shifted)


def test_inter_class_ignores_positive_affine_maps_of_a_samples_probabilities(logits):
    """A softer student, each sample in its own measure, has the relations of the teacher."""
    p = logits[1].softmax(dim=1)
    softness = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)[:, None]
    student = ((1 - softness) * p + softness / 5).log()
    assert DISTLoss(gamma=0.0)(student, logits[1]).item() == pytest.approx(0, abs=1e-5)
    assert DISTLoss(beta=0.0)(student, logits[1]) > 0.01


def test_intra_class_ignores_positive_affine_maps_of_a_class_over_the_batch(logits):
    """A student with a bias towards some classes ranks the samples as the teacher does."""
    p = logits[1].softmax(dim=1)
    bias = torch.tensor([0.1, 0.5, 0.2, 0.1, 0.1], dtype=torch.float64)
    student = (0.5 * p + 0.5 * bias).log()
    assert DISTLoss(beta=0.0)(student, logits[1]).item() == pytest.approx(0, abs=1e-5)
    assert DISTLoss(gamma=0.0)(student, logits[1]) > 0.01


def test_zero_loss_and_gradient_where_predictions_agree(logits):
    student = logits[0].requires_grad_()
    loss = DISTLoss()(student, student.detach() + 1)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert student.grad.abs().max() < 1e-6


def test_several_logits_are_averaged(logits):
    student, teacher = logits
    both = DISTLoss()([student, teacher], [teacher, student])
    assert both.item() == pytest.approx(DISTLoss()(student, teacher).item())


def test_single_sample_learns_the_inter_class_relation_only(logits):
    student, teacher = logits[0][:1].requires_grad_(), logits[1][:1]
    grads = [
        torch.autograd.grad(DISTLoss(gamma=gamma)(student, teacher), student)[0]
        for gamma in (1.0, 0.0)
    ]
    assert grads[0].abs().sum() > 0
    assert torch.equal(*grads)


def test_half_precision_logits_of_1e4_stay_finite(check_autocast, logits):
    check_autocast(DISTLoss(), logits[:1], logits[1:])


def test_other_classes_and_bad_tau_are_refused():
    loss = DISTLoss()
    with pytest.raises(ValueError, match=r'\(2, 5\).*\(2, 7\).*same classes'):
        loss.build(torch.zeros(2, 5), torch.zeros(2, 7))
    with pytest.raises(ValueError, match=r'DISTLoss takes logits \(N, K\).*\(2, 5, 1, 1\)'):
        loss.build(torch.zeros(2, 5, 1, 1), torch.zeros(2, 5, 1, 1))
    with pytest.raises(ValueError, match='tau must be positive, found tau=-1'):
        DISTLoss(tau=-1)
