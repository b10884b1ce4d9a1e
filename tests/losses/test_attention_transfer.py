import pytest
import torch

from mmkd.losses import AttentionTransferLoss


def maps(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def attention(sample):
    """Attention of one sample (C, H, W), entry by entry."""
    channels, height, width = sample.shape
    values = [
        sum(sample[c, y, x].item() ** 2 for c in range(channels)) / channels
        for y in range(height)
        for x in range(width)
    ]
    norm = sum(v**2 for v in values) ** 0.5
    return [v / norm for v in values]


def reference(student, teacher):
    total = count = 0
    for s, t in zip(student, teacher, strict=True):
        for a, b in zip(attention(s), attention(t), strict=True):
            total += (a - b) ** 2
            count += 1
    return total / count


def test_equals_the_definition():
    student, teacher = maps(3, 4, 3, 5), maps(3, 6, 3, 5, seed=1)
    loss = AttentionTransferLoss(loss_weight=1000.0)
    assert loss(student, teacher).item() == pytest.approx(1000 * reference(student, teacher))


@pytest.mark.parametrize('larger', ['student', 'teacher', 'each'])
def test_larger_map_is_average_pooled(larger):
    def halves(x, dim):
        return torch.stack([x.select(dim, i) for i in (0, 2)], dim) / 2 + (
            torch.stack([x.select(dim, i) for i in (1, 3)], dim) / 2
        )

    if larger == 'each':
        student, teacher = maps(2, 3, 4, 2), maps(2, 3, 2, 4, seed=1)
        pooled = halves(student, 2), halves(teacher, 3)
    else:
        student, teacher = maps(2, 3, 4, 4), maps(2, 3, 2, 4, seed=1)
        pooled = halves(student, 2), teacher
    if larger == 'teacher':
        student, teacher, pooled = teacher, student, pooled[::-1]
    result = AttentionTransferLoss()(student, teacher).item()
    assert result == pytest.approx(reference(*pooled))


def test_several_levels_add_up():
    student = [maps(2, 3, 4, 4), maps(2, 6, 2, 2)]
    teacher = [maps(2, 4, 4, 4, seed=1), maps(2, 8, 2, 2, seed=1)]
    parts = sum(reference(s, t) for s, t in zip(student, teacher, strict=True))
    assert AttentionTransferLoss()(student, teacher).item() == pytest.approx(parts)


def test_scale_of_a_layer_changes_nothing():
    student, teacher = maps(2, 3, 4, 4), maps(2, 3, 4, 4, seed=1)
    loss = AttentionTransferLoss()
    assert torch.allclose(loss(student, teacher), loss(30 * student, teacher / 7))


def test_gradient():
    student, teacher = maps(2, 3, 3, 3).requires_grad_(), maps(2, 2, 3, 3, seed=1)
    assert torch.autograd.gradcheck(lambda s: AttentionTransferLoss()(s, teacher), student)


def test_zero_where_attention_agrees_whatever_the_channels():
    teacher = maps(2, 3, 4, 4)
    student = torch.cat([-teacher[:, 1:], teacher[:, :1]], dim=1).requires_grad_()
    loss = AttentionTransferLoss()(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-30)
    assert student.grad.abs().max() < 1e-15


def test_dead_map_has_finite_gradient():
    student = torch.zeros(2, 3, 4, 4, requires_grad=True)
    AttentionTransferLoss()(student, torch.rand(2, 3, 4, 4)).backward()
    assert student.grad.isfinite().all()


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    check_autocast(AttentionTransferLoss(), [maps(2, 3, 4, 4)], [maps(2, 5, 4, 4)])


def test_vectors_are_refused():
    with pytest.raises(ValueError, match=r'AttentionTransferLoss.*\(2, 3\).*tap stages'):
        AttentionTransferLoss().build(torch.zeros(2, 3), torch.zeros(2, 3, 4, 4))
