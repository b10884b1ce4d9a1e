import numpy as np
import pytest
import torch

from mmkd.losses import ABLoss


def maps(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def build(student, teacher, **kwargs):
    torch.manual_seed(0)
    loss = ABLoss(**kwargs)
    loss.build(student, teacher)
    return loss.double()


def reference(student, teacher, margin=1.0):
    """Value by value, with the factors written out: the last level counts once."""
    total = 0.0
    for level, (s, t) in enumerate(zip(student, teacher, strict=True), start=1):
        distance = 0.0
        for ours, theirs in zip(s.flatten().tolist(), t.flatten().tolist(), strict=True):
            if theirs > 0 and ours <= margin:
                distance += (ours - margin) ** 2
            if theirs <= 0 and ours > -margin:
                distance += (ours + margin) ** 2
        total += 2.0 ** (level - len(student)) * distance
    return 3 / 1000 * total / len(teacher[0])


def levels(seed):
    return [maps(2, 3, 4, 4, seed=seed), maps(2, 4, 2, 3, seed=seed), maps(2, 5, 1, 1, seed=seed)]


def test_equals_the_definition():
    student, teacher = levels(seed=0), levels(seed=1)
    loss = build(student, teacher, margin=0.7, loss_weight=2.0)
    expected = 2 * reference(student, teacher, margin=0.7)
    assert loss(student, teacher).item() == pytest.approx(expected)


def test_connector_is_a_1x1_convolution_with_batch_norm():
    student, teacher = maps(3, 2, 2, 2), maps(3, 4, 2, 2, seed=1)
    loss = build(student, teacher)
    connector = loss.connectors[0]
    torch.nn.init.normal_(connector.bn.weight)
    torch.nn.init.normal_(connector.bn.bias)
    weight, gamma, beta = (p.detach().numpy() for p in loss.parameters())
    convolved = np.einsum('oi,nihw->nohw', weight[:, :, 0, 0], student.numpy())
    mean = convolved.mean(axis=(0, 2, 3), keepdims=True)
    normalised = (convolved - mean) / np.sqrt(convolved.var(axis=(0, 2, 3), keepdims=True) + 1e-5)
    connected = gamma[:, None, None] * normalised + beta[:, None, None]
    expected = reference([torch.from_numpy(connected)], [teacher])
    assert loss(student, teacher).item() == pytest.approx(expected)


def test_gradient_reaches_features_and_connectors():
    student, teacher = maps(2, 2, 2, 2).requires_grad_(), maps(2, 3, 2, 2, seed=1)
    loss = build(student, teacher)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)
    loss(student, teacher).backward()
    assert len(list(loss.parameters())) == 3
    assert all(parameter.grad.abs().sum() > 0 for parameter in loss.parameters())


def test_only_the_teachers_signs_count():
    student, teacher = maps(2, 3, 4, 4), maps(2, 3, 4, 4, seed=1)
    loss = build(student, teacher)
    value = loss(student, teacher)
    assert loss(student, teacher.sign()) == value
    assert loss(student, teacher * maps(2, 3, 4, 4, seed=2).exp()) == value
    assert loss(student, -teacher) != value


def test_zero_with_zero_gradient_where_signs_agree_beyond_the_margin():
    teacher = maps(2, 3, 4, 4)
    teacher[0, 0] = 0.0
    sign = torch.where(teacher > 0, 1.0, -1.0)  # a value of zero is not active
    student = (sign * (1 + maps(2, 3, 4, 4, seed=1).abs())).requires_grad_()
    loss = build(student, teacher)(student, teacher)
    loss.backward()
    assert loss == 0
    assert (student.grad == 0).all()


def test_right_sign_within_the_margin_still_counts():
    teacher = maps(1, 1, 2, 2).abs()
    student = torch.full_like(teacher, 0.25)
    expected = 4 * 0.75**2 * 3 / 1000
    assert build(student, teacher)(student, teacher).item() == pytest.approx(expected)
    assert build(student, teacher, margin=0.25)(student, teacher) == 0


def test_no_connector_where_channels_agree():
    student, teacher = levels(seed=0), levels(seed=1)
    student[1] = maps(2, 7, 2, 3)
    parameters = dict(build(student, teacher).named_parameters())
    assert {name.split('.')[1] for name in parameters} == {'1'}


def test_batch_of_one():
    student, teacher = [maps(1, 3, 4, 4)], [maps(1, 3, 4, 4, seed=1)]
    loss = build(student, teacher)
    assert loss(student, teacher).item() == pytest.approx(reference(student, teacher))
    pixel, more_channels = maps(1, 3, 1, 1), maps(1, 5, 1, 1)
    loss = build(pixel, more_channels)
    with pytest.raises(ValueError, match='more than 1 value per channel when training'):
        loss(pixel, more_channels)
    assert loss.eval()(pixel, more_channels).isfinite()


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student, teacher = [maps(2, 4, 4, 4), maps(2, 6, 4, 4)], [maps(2, 6, 4, 4, seed=1)] * 2
    check_autocast(build(student, teacher).float(), student, teacher)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r'ABLoss takes maps.*\(2, 3\)'):
        build(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r'twice as large.*\(2, 3, 8, 8\).*\(2, 3, 2, 2\)'):
        build(maps(2, 3, 8, 8), maps(2, 3, 2, 2))
    with pytest.raises(ValueError, match='margin=-1'):
        ABLoss(margin=-1)
    loss = build(maps(2, 3, 4, 4), maps(2, 6, 4, 4))
    with pytest.raises(ValueError, match=r'\(2, 6, 4, 4\).*\(2, 6, 2, 2\).*strides divide'):
        loss(maps(2, 3, 4, 4), maps(2, 6, 2, 2))
