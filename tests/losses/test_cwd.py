import numpy as np
import pytest
import torch

from mmkd.losses import CWDLoss


def maps(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def build(student, teacher, **kwargs):
    torch.manual_seed(0)
    loss = CWDLoss(**kwargs)
    loss.build(student, teacher)
    return loss.double()


def reference(student, teacher, tau):
    """Channel by channel."""
    total = 0.0
    rows = (x.reshape(-1, student[0, 0].size) for x in (student, teacher))
    for s, t in zip(*rows, strict=True):
        p, q = (np.exp(x / tau) / np.exp(x / tau).sum() for x in (t, s))
        total += tau**2 * (p * np.log(p / q)).sum()
    return total / (student.shape[0] * student.shape[1])


@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_equals_the_definition(tau):
    student, teacher = maps(2, 3, 4, 5), maps(2, 3, 4, 5, seed=1)
    loss = build(student, teacher, tau=tau, loss_weight=10.0)
    expected = 10 * reference(student.numpy(), teacher.numpy(), tau)
    assert loss(student, teacher).item() == pytest.approx(expected)


def test_student_channels_are_aligned():
    student, teacher = maps(2, 3, 4, 5), maps(2, 6, 4, 5, seed=1)
    loss = build(student, teacher)
    weight, bias = loss.aligns[0].weight[:, :, 0, 0], loss.aligns[0].bias
    aligned = torch.einsum('oc,nchw->nohw', weight, student) + bias[:, None, None]
    expected = reference(aligned.detach().numpy(), teacher.numpy(), 1.0)
    assert loss(student, teacher).item() == pytest.approx(expected)


def test_a_constant_added_to_a_channel_changes_nothing():
    student, teacher = maps(2, 3, 4, 5), maps(2, 3, 4, 5, seed=1)
    loss = build(student, teacher)
    shifted = student + maps(2, 3, 1, 1, seed=2), teacher + maps(2, 3, 1, 1, seed=3)
    assert loss(*shifted).item() == pytest.approx(loss(student, teacher).item())
    assert loss(teacher + 5, teacher).item() == pytest.approx(0, abs=1e-12)


def test_several_levels_add_up():
    student = [maps(2, 3, 4, 4), maps(2, 3, 2, 2)]
    teacher = [maps(2, 3, 4, 4, seed=1), maps(2, 3, 2, 2, seed=1)]
    parts = [build(s, t)(s, t) for s, t in zip(student, teacher, strict=True)]
    assert build(student, teacher)(student, teacher).item() == pytest.approx(sum(parts).item())


def test_gradient_reaches_feature_and_alignment():
    student, teacher = maps(2, 2, 3, 3).requires_grad_(), maps(2, 3, 3, 3, seed=1)
    loss = build(student, teacher, tau=2.0)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)
    loss(student, teacher).backward()
    assert loss.aligns[0].weight.grad.abs().sum() > 0


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student, teacher = [maps(2, 3, 4, 5)], [maps(2, 6, 4, 5, seed=1)]
    check_autocast(build(student, teacher).float(), student, teacher)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match='tau must be positive, found tau=0'):
        CWDLoss(tau=0)
    with pytest.raises(ValueError, match=r'\(1, 2, 4, 4\) and .*\(1, 2, 2, 2\).*same stride'):
        build(maps(1, 2, 4, 4), maps(1, 2, 2, 2))
    with pytest.raises(ValueError, match=r'CWDLoss takes maps'):
        build(maps(1, 2), maps(1, 2))
