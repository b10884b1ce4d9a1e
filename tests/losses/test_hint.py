import pytest
import torch

from mmkd.losses import HintLoss


def build(student, teacher, **kwargs):
    torch.manual_seed(0)
    loss = HintLoss(**kwargs)
    loss.build(student, teacher)
    return loss.double()


def test_equals_the_definition_with_a_regressor():
    student, teacher = torch.randn(2, 3, 4, 5).double(), torch.randn(2, 6, 4, 5).double()
    loss = build(student, teacher, loss_weight=0.1)
    weight, bias = loss.regressors[0].conv.weight[:, :, 0, 0], loss.regressors[0].conv.bias
    total = 0.0
    for n in range(2):
        for y in range(4):
            for x in range(5):
                regressed = weight @ student[n, :, y, x] + bias
                total += ((regressed - teacher[n, :, y, x]) ** 2).sum().item()
    assert loss(student, teacher).item() == pytest.approx(0.1 * total / teacher.numel())


def test_gradient_reaches_feature_and_regressor():
    student = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(1, 3, 3, 3, dtype=torch.float64)
    loss = build(student, teacher)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)
    loss(student, teacher).backward()
    assert loss.regressors[0].conv.weight.grad.abs().sum() > 0


def test_equal_channels_are_compared_as_they_are():
    teacher = torch.randn(2, 3, 4, 4)
    student = teacher.clone().requires_grad_()
    loss = build(student, teacher)
    assert not list(loss.parameters())
    value = loss(student, teacher)
    value.backward()
    assert value == 0
    assert (student.grad == 0).all()
    assert loss(student + 2, teacher).item() == pytest.approx(4)


def test_several_levels_add_up():
    levels = [torch.randn(2, 3, 4, 4).double(), torch.randn(2, 5, 2, 2).double()]
    teacher = [torch.randn_like(level) for level in levels]
    both = build(levels, teacher)(levels, teacher)
    parts = [build(s, t)(s, t) for s, t in zip(levels, teacher, strict=True)]
    assert both.item() == pytest.approx(sum(parts).item())


@pytest.mark.parametrize('size', [4, 8, 16])
def test_maps_twice_or_half_as_large_are_brought_to_the_teachers_size(size):
    student, teacher = torch.randn(2, 3, size, size), torch.randn(2, 3, 8, 8)
    loss = build(student, teacher)
    student, teacher = student.double(), teacher.double()
    assert loss.regressors[0](student).shape == teacher.shape
    assert any(True for _ in loss.parameters()) == (size != 8)
    # Images of another size keep the ratio.
    assert loss.regressors[0](student[..., : size // 2]).shape == (2, 3, 8, 4)


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r'\(1, 2, 4, 4\) and teacher \(1, 2, 1, 1\).*strides'):
        build(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 1, 1))


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student = [torch.randn(2, 4, 4, 4), torch.randn(2, 6, 4, 4)]
    teacher = [torch.randn(2, 6, 4, 4)] * 2
    check_autocast(build(student, teacher).float(), student, teacher)
