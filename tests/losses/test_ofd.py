from statistics import NormalDist

import pytest
import torch
from torch import nn

from mmkd.losses import OFDLoss
from mmkd.losses.ofd import MarginReLU, normal_margins


def maps(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def build(student, teacher, **kwargs):
    torch.manual_seed(0)
    loss = OFDLoss(**kwargs)
    loss.build(student, teacher)
    return loss.double()


def build_plain(student, teacher, **kwargs):
    """Without connectors, so that the student's values are what is compared."""
    loss = build(student, teacher, **kwargs)
    loss.connectors = nn.ModuleList(nn.Identity() for _ in loss.connectors)
    return loss


def margins(*seen):
    """Mean of the negative values of each channel of all maps, value by value."""
    means = []
    for channel in range(seen[0].shape[1]):
        values = [v for x in seen for v in x[:, channel].flatten().tolist() if v < 0]
        means.append(sum(values) / len(values) if values else 0.0)
    return means


def reference(student, teacher, margin=None):
    total = 0.0
    for level, (s, t) in enumerate(zip(student, teacher, strict=True), start=1):
        margin_of = margin or margins(t)
        error = 0.0
        for n in range(s.shape[0]):
            for c in range(s.shape[1]):
                values = zip(s[n, c].flatten().tolist(), t[n, c].flatten().tolist(), strict=True)
                for ours, theirs in values:
                    target = max(theirs, margin_of[c])
                    if not ours <= target <= 0:
                        error += (ours - target) ** 2
        total += 2.0 ** (level - len(student)) * error
    return total / len(teacher[0])


def levels(seed):
    return [maps(2, 3, 4, 4, seed=seed), maps(2, 4, 2, 3, seed=seed), maps(2, 5, 2, 1, seed=seed)]


def test_equals_the_definition():
    student, teacher = levels(seed=0), levels(seed=1)
    loss = build_plain(student, teacher, loss_weight=2.0)
    assert loss(student, teacher).item() == pytest.approx(2 * reference(student, teacher))


def test_connector_is_a_1x1_convolution_with_batch_norm():
    """Also where the channels agree."""
    student, teacher = maps(3, 4, 2, 2), maps(3, 4, 2, 2, seed=1)
    loss = build(student, teacher)
    for parameter in loss.parameters():
        nn.init.normal_(parameter)
    weight, gamma, beta = (p.detach() for p in loss.parameters())
    convolved = torch.einsum('oi,nihw->nohw', weight[:, :, 0, 0], student)
    channels = []
    for c in range(4):
        x = convolved[:, c]
        variance = ((x - x.mean()) ** 2).mean()
        channels.append(gamma[c] * (x - x.mean()) / (variance + 1e-5).sqrt() + beta[c])
    expected = reference([torch.stack(channels, dim=1)], [teacher])
    assert loss(student, teacher).item() == pytest.approx(expected)


def test_gradient_reaches_features_and_connectors():
    student, teacher = maps(2, 2, 2, 2).requires_grad_(), maps(2, 3, 2, 2, seed=1)
    loss = build(student, teacher)
    loss(student, teacher).backward()
    assert len(list(loss.parameters())) == 3
    assert all(parameter.grad.abs().sum() > 0 for parameter in loss.parameters())
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)


def test_margin_is_the_mean_negative_value_of_the_channel():
    relu, steps = MarginReLU(3).double(), [maps(n, 3, 2, 4, seed=n) for n in (1, 2, 4)]
    steps[1][:, 1] = 2.0  # a channel without negatives in one step
    for number, step in enumerate(steps, start=1):
        output = relu(step)
        assert relu.margin.tolist() == pytest.approx(margins(*steps[:number]))
        assert torch.equal(output, torch.maximum(step, relu.margin.view(3, 1, 1)))


def test_channel_that_is_never_negative_has_margin_zero():
    relu = MarginReLU(2)
    assert relu(torch.ones(2, 2, 3, 3)).equal(torch.ones(2, 2, 3, 3))
    assert relu.margin.tolist() == [0, 0]


def test_margin_stands_still_outside_training():
    relu = MarginReLU(2).double()
    relu(maps(2, 2, 3, 3))
    before = relu.margin.clone()
    relu.eval()(maps(2, 2, 3, 3, seed=1))
    assert relu.margin.equal(before)


def test_loaded_margins_go_on_as_if_never_stopped():
    teacher, later = maps(2, 3, 4, 4), maps(2, 3, 4, 4, seed=1)
    loss, loaded = (build(teacher, teacher) for _ in range(2))
    loss(teacher, teacher)
    loaded.load_state_dict(loss.state_dict())
    loss(later, later)
    loaded(later, later)
    assert loaded.margin_relus[0].margin.equal(loss.margin_relus[0].margin)


def test_student_below_a_teacher_that_is_not_positive_does_not_count():
    teacher = -maps(2, 3, 4, 4).abs()
    loss = build_plain(teacher, teacher)
    target = loss.margin_relus[0](teacher)
    loss.eval()
    below = (target - maps(2, 3, 4, 4, seed=1).abs()).requires_grad_()
    value = loss(below, teacher)
    value.backward()
    assert value == 0
    assert (below.grad == 0).all()
    assert loss(target + 0.5, teacher).item() == pytest.approx(0.25 * 3 * 16)


def test_student_below_a_positive_teacher_counts():
    teacher = maps(2, 3, 4, 4).abs() + 0.1
    loss = build_plain(teacher, teacher)
    assert loss(teacher - 2, teacher).item() == pytest.approx(4 * 3 * 16)


def test_what_the_teacher_has_below_its_margin_does_not_count():
    student, teacher = maps(2, 3, 4, 4), maps(2, 3, 4, 4, seed=1)
    loss = build_plain(student, teacher)
    value = loss(student, teacher)
    loss.eval()
    margin = loss.margin_relus[0].margin.view(3, 1, 1)
    lower = torch.where(teacher < margin, teacher - 5, teacher)
    assert (lower < teacher).any()
    assert loss(student, lower) == value


def test_zero_with_zero_gradient_at_the_teachers_margin_relu():
    teacher = maps(2, 3, 4, 4)
    loss = build_plain(teacher, teacher)
    student = loss.margin_relus[0](teacher).requires_grad_()
    value = loss.eval()(student, teacher)
    value.backward()
    assert value == 0
    assert (student.grad == 0).all()


def test_batch_of_one():
    student, teacher = [maps(1, 3, 4, 4)], [maps(1, 3, 4, 4, seed=1)]
    loss = build_plain(student, teacher)
    assert loss(student, teacher).item() == pytest.approx(reference(student, teacher))
    pixel = maps(1, 3, 1, 1)
    with pytest.raises(ValueError, match='more than 1 value per channel when training'):
        build(pixel, pixel)(pixel, pixel)


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student, teacher = maps(2, 4, 4, 4), maps(2, 6, 4, 4, seed=1)
    loss = build(student, teacher, loss_weight=1e-3).float()
    check_autocast(loss, [student], [teacher])
    assert loss.margin_relus[0].margin.dtype == torch.float32
    assert (loss.margin_relus[0].margin < -100).all()


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r'OFDLoss takes maps.*\(2, 3\)'):
        build(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="unknown margins='bn'; give 'data' or 'norm'"):
        OFDLoss(margins='bn')
    with pytest.raises(ValueError, match=r'found shapes \[\(3,\)\].*bn2:weight.*bn2:bias'):
        build([maps(2, 3, 4, 4)], [maps(2, 3, 4, 4), torch.ones(3)], margins='norm')


@pytest.mark.parametrize('size', [2, 8])
def test_the_teachers_map_is_pooled_to_the_size_of_the_students(size):
    student, teacher = maps(2, 3, 4, 4), maps(2, 3, size, size, seed=1)
    loss = build_plain(student, teacher)
    if size == 8:
        pooled = teacher.reshape(2, 3, 4, 2, 4, 2).mean(dim=(3, 5))
    else:
        pooled = teacher.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert loss(student, teacher).item() == pytest.approx(reference([student], [pooled]))


def test_connectors_of_other_sizes_are_1x1_too():
    loss = build(maps(2, 3, 4, 4), maps(2, 5, 8, 8))
    assert loss.connectors[0].conv.weight.shape == (5, 3, 1, 1)


def test_margins_of_a_norm_are_the_mean_negative_value_of_normal_values():
    scale, shift = torch.tensor([1.0, -2.0, 0.5, 1.0]), torch.tensor([0.0, 1.0, -3.0, 9.0])
    found = normal_margins(scale, shift)
    for s, m, margin in zip(
        scale[:3].tolist(), shift[:3].tolist(), found[:3].tolist(), strict=True
    ):
        values = [m + s * NormalDist().inv_cdf((i + 0.5) / 10**5) for i in range(10**5)]
        negative = [v for v in values if v < 0]
        assert margin == pytest.approx(sum(negative) / len(negative), rel=1e-3)
    assert found[3] == -3


def test_margins_of_a_norm_stand_still():
    student, teacher = [maps(2, 3, 4, 4)], [maps(2, 3, 4, 4, seed=1)]
    scale, shift = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, -0.5, 0.0])
    loss = build_plain(student, [*teacher, scale, shift], margins='norm')
    expected = reference(student, teacher, margin=normal_margins(scale, shift).tolist())
    for _ in range(2):
        assert loss(student, [*teacher, scale, shift]).item() == pytest.approx(expected)
