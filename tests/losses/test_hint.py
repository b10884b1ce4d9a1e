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


def test_without_regressor_features_are_compared_as_they_are():
    teacher = torch.randn(2, 3, 4, 4)
    student = teacher.clone().requires_grad_()
    loss = build(student, teacher, regressor=None)
    assert not list(loss.parameters())
    value = loss(student, teacher)
    value.backward()
    assert value == 0
    assert (student.grad == 0).all()
    assert loss(student + 2, teacher).item() == pytest.approx(4)


def test_without_regressor_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 2, 4, 4\).*\(1, 3, 4, 4\).*regressor='conv'"):
        build(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4), regressor=None)


@pytest.mark.parametrize('regressor', ['conv', 'conv_bn_relu'])
def test_equal_shapes_are_regressed_too(regressor):
    student = torch.randn(2, 3, 4, 4)
    assert list(build(student, student.clone(), regressor=regressor).parameters())


def test_the_benchmarks_regressor_normalises_over_the_batch_and_cuts_below_zero():
    student, teacher = torch.randn(4, 2, 3, 3).double(), torch.randn(4, 3, 3, 3).double()
    loss = build(student, teacher, regressor='conv_bn_relu', loss_weight=100.0)
    weight = loss.regressors[0].conv.weight[:, :, 0, 0]
    total = 0.0
    for channel in range(3):
        column = [
            (weight[channel] @ student[n, :, y, x]).item()
            for n in range(4)
            for y in range(3)
            for x in range(3)
        ]
        mean = sum(column) / 36
        std = (sum((v - mean) ** 2 for v in column) / 36 + 1e-5) ** 0.5
        target = teacher[:, channel].flatten().tolist()
        total += sum(
            (max((v - mean) / std, 0) - t) ** 2 for v, t in zip(column, target, strict=True)
        )
    assert loss(student, teacher).item() == pytest.approx(100 * total / teacher.numel())


def test_an_unknown_regressor_is_refused():
    with pytest.raises(ValueError, match=r"regressor='linear'.*'conv_bn_relu'.*None"):
        HintLoss(regressor='linear')


def test_several_levels_add_up():
    levels = [torch.randn(2, 3, 4, 4).double(), torch.randn(2, 5, 2, 2).double()]
    teacher = [torch.randn_like(level) for level in levels]
    loss = build(levels, teacher)
    parts = [
        (regress(s) - t).square().mean().item()
        for regress, s, t in zip(loss.regressors, levels, teacher, strict=True)
    ]
    assert loss(levels, teacher).item() == pytest.approx(sum(parts))


@pytest.mark.parametrize('size', [4, 8, 16])
def test_maps_twice_or_half_as_large_are_brought_to_the_teachers_size(size):
    student, teacher = torch.randn(2, 3, size, size), torch.randn(2, 3, 8, 8)
    loss = build(student, teacher)
    student, teacher = student.double(), teacher.double()
    assert loss.regressors[0](student).shape == teacher.shape
    # Images of another size keep the ratio.
    assert loss.regressors[0](student[..., : size // 2]).shape == (2, 3, 8, 4)


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r'\(1, 2, 4, 4\) and teacher \(1, 2, 1, 1\).*strides'):
        build(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 1, 1))


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student = [torch.randn(2, 4, 4, 4), torch.randn(2, 6, 4, 4)]
    teacher = [torch.randn(2, 6, 4, 4)] * 2
    check_autocast(build(student, teacher).float(), student, teacher)
