import numpy as np
import pytest
import torch

from mmkd.losses import PKDLoss


def maps(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def build(student, teacher, **kwargs):
    torch.manual_seed(0)
    loss = PKDLoss(**kwargs)
    loss.build(student, teacher)
    return loss.double()


def reference(student, teacher):
    """One minus numpy's correlation, channel by channel, as unbiased deviations scale it."""
    m = student[:, 0].size
    channels = range(student.shape[1])
    r = [np.corrcoef(student[:, c].ravel(), teacher[:, c].ravel())[0, 1] for c in channels]
    return (1 - np.mean(r)) * (m - 1) / m


def authors(student, teacher):
    """As the code that CrossKD took over has it, with the default, unbiased `std`."""
    rows = (x.permute(1, 0, 2, 3).reshape(x.shape[1], -1) for x in (student, teacher))
    s, t = ((x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) for x in rows)
    return ((s - t) ** 2 / 2).mean()


def test_equals_the_authors_code_with_its_gradient():
    student, teacher = maps(2, 3, 2, 2).requires_grad_(), maps(2, 3, 2, 2, seed=1)
    values = build(student, teacher)(student, teacher), authors(student, teacher)
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-12)
    ours, theirs = (torch.autograd.grad(value, student)[0] for value in values)
    torch.testing.assert_close(ours, theirs)


def test_one_position_in_the_whole_batch_is_refused():
    student, teacher = maps(2, 3, 1, 1), maps(2, 3, 1, 1, seed=1)
    loss = build(student, teacher)
    with pytest.raises(ValueError, match=r'a map \(1, 3, 1, 1\) has one position'):
        loss(student[:1], teacher[:1])


def test_a_resized_student_is_compared_at_the_teachers_size():
    student, teacher = maps(2, 3, 2, 3), maps(2, 3, 4, 6, seed=1)
    # Bilinear at twice the size: a quarter and three quarters between neighbours.
    rows = torch.tensor([[4, 0], [3, 1], [1, 3], [0, 4]]) / 4
    columns = [[4, 0, 0], [3, 1, 0], [1, 3, 0], [0, 3, 1], [0, 1, 3], [0, 0, 4]]
    axis = rows.double(), torch.tensor(columns).double() / 4
    resized = torch.einsum('ih,jw,nchw->ncij', *axis, student)
    value = build(student, teacher, resize_student=True)(student, teacher)
    assert value.item() == pytest.approx(reference(resized.numpy(), teacher.numpy()), rel=1e-5)
    same = maps(2, 3, 4, 6, seed=2)
    plain = build(same, teacher)(same, teacher)
    torch.testing.assert_close(build(same, teacher, resize_student=True)(same, teacher), plain)
    with pytest.raises(ValueError, match='equal height and width'):
        build(student, teacher)


def test_equals_one_minus_the_correlation():
    student, teacher = maps(2, 3, 4, 5), maps(2, 3, 4, 5, seed=1)
    loss = build(student, teacher, loss_weight=6.0)
    expected = 6 * reference(student.numpy(), teacher.numpy())
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_student_channels_are_aligned():
    student, teacher = maps(2, 3, 4, 5), maps(2, 6, 4, 5, seed=1)
    loss = build(student, teacher)
    aligned = torch.einsum('oc,nchw->nohw', loss.aligns[0].weight[:, :, 0, 0], student)
    expected = reference(aligned.detach().numpy(), teacher.numpy())
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-4)


def test_scale_and_offset_of_a_channel_change_nothing():
    student, teacher = maps(2, 3, 4, 5), maps(2, 3, 4, 5, seed=1)
    loss = build(student, teacher)
    value = loss(student, teacher).item()
    scale, offset = maps(1, 3, 1, 1, seed=2).exp(), maps(1, 3, 1, 1, seed=3)
    assert loss(student * scale + offset, teacher).item() == pytest.approx(value, rel=1e-5)
    assert loss(student, teacher * scale + offset).item() == pytest.approx(value, rel=1e-5)


def test_ranges_from_equal_to_opposite():
    feature = maps(2, 3, 4, 5)
    loss = build(feature, feature)
    assert loss(feature, 3 * feature + 1).item() == pytest.approx(0, abs=1e-9)
    assert loss(feature, -feature).item() == pytest.approx(2 * 39 / 40, rel=1e-5)


def test_a_constant_channel_has_finite_gradients():
    student, teacher = maps(2, 3, 4, 5), maps(2, 3, 4, 5, seed=1)
    student[:, 1] = 0.5
    loss = build(student, teacher)
    loss(student.requires_grad_(), teacher).backward()
    assert student.grad.isfinite().all()


def test_several_levels_add_up():
    student = [maps(2, 3, 4, 4), maps(2, 3, 2, 2)]
    teacher = [maps(2, 3, 4, 4, seed=1), maps(2, 3, 2, 2, seed=1)]
    parts = [build(s, t)(s, t) for s, t in zip(student, teacher, strict=True)]
    assert build(student, teacher)(student, teacher).item() == pytest.approx(sum(parts).item())


def test_gradient_reaches_feature_and_alignment():
    student, teacher = maps(2, 2, 3, 3).requires_grad_(), maps(2, 3, 3, 3, seed=1)
    loss = build(student, teacher)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)
    loss(student, teacher).backward()
    assert loss.aligns[0].weight.grad.abs().sum() > 0


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student, teacher = [maps(2, 3, 4, 5)], [maps(2, 6, 4, 5, seed=1)]
    check_autocast(build(student, teacher).float(), student, teacher)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_compared_in_float32(dtype):
    student, teacher = maps(2, 3, 4, 5).to(dtype), maps(2, 3, 4, 5, seed=1).to(dtype)
    with torch.autocast('cpu', dtype=dtype):
        value = build(student, teacher)(student, teacher)
    expected = reference(student.double().numpy(), teacher.double().numpy())
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r'PKDLoss .*\(1, 2, 4, 4\) and .*same stride'):
        build(maps(1, 2, 4, 4), maps(1, 2, 2, 2))
