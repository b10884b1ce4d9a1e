import pytest
import torch

from mmkd.losses import CorrelationCongruenceLoss


def vectors(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def build(student, teacher, **kwargs):
    torch.manual_seed(0)
    loss = CorrelationCongruenceLoss(**kwargs)
    loss.build(student, teacher)
    return loss.double()


@pytest.fixture
def identity_loss():
    """The loss with both embeddings the identity of 3 dimensions."""
    loss = build(vectors(4, 3), vectors(4, 3), embed_dims=3)
    for layer in (loss.student_embeddings[0], loss.teacher_embeddings[0]):
        torch.nn.init.eye_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return loss


def embed(layer, row):
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    return [
        sum(w * v for w, v in zip(ws, row, strict=True)) + b
        for ws, b in zip(weight, bias, strict=True)
    ]


def test_equals_the_definition():
    student, teacher = vectors(5, 3), vectors(5, 4, seed=1)
    loss = build(student, teacher, embed_dims=6, loss_weight=0.02)
    errors = [
        [abs(a - b) for a, b in zip(embed_s, embed_t, strict=True)]
        for embed_s, embed_t in (
            (embed(loss.student_embeddings[0], s), embed(loss.teacher_embeddings[0], t))
            for s, t in zip(student.tolist(), teacher.tolist(), strict=True)
        )
    ]
    total = sum(a * b for i in range(4) for a, b in zip(errors[i], errors[i + 1], strict=True))
    assert loss(student, teacher).item() == pytest.approx(0.02 * total / 4)


def test_several_levels_add_up():
    student, teacher = vectors(4, 3), vectors(4, 5, seed=1)
    loss = build([student, student], [teacher, teacher])
    total = loss([student, student], [teacher, teacher])
    for level in (0, 1):
        single = build(student, teacher)
        single.student_embeddings[0] = loss.student_embeddings[level]
        single.teacher_embeddings[0] = loss.teacher_embeddings[level]
        total = total - single(student, teacher)
    assert total.item() == pytest.approx(0, abs=1e-12)


def test_gradient_reaches_the_student_and_both_embeddings():
    student, teacher = vectors(4, 3).requires_grad_(), vectors(4, 5, seed=1)
    loss = build(student, teacher, embed_dims=4)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)
    loss(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in loss.parameters())


def test_an_error_counts_only_beside_another(identity_loss):
    teacher = vectors(4, 3)
    error = torch.zeros(4, 3).double()
    error[1] = 2.0
    assert identity_loss(teacher + error, teacher) == 0
    error[2] = -1.0
    assert identity_loss(teacher + error, teacher).item() == pytest.approx(3 * 2 * 1 / 3)


def test_zero_loss_and_gradient_where_embeddings_agree(identity_loss):
    teacher = vectors(4, 3)
    student = teacher.clone().requires_grad_()
    loss = identity_loss(student, teacher)
    loss.backward()
    assert loss == 0
    assert (student.grad == 0).all()


def test_single_sample_gives_zero_and_stays_in_the_graph():
    student, teacher = vectors(1, 3), vectors(1, 5)
    loss = build(student, teacher)
    value = loss(student, teacher)
    value.backward()
    assert value == 0
    assert all((parameter.grad == 0).all() for parameter in loss.parameters())


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student, teacher = vectors(4, 6), vectors(4, 8, seed=1)
    check_autocast(build(student, teacher, loss_weight=0.02).float(), [student], [teacher])


def test_maps_are_refused():
    with pytest.raises(
        ValueError, match=r'CorrelationCongruenceLoss takes vectors.*\(2, 3, 1, 1\)'
    ):
        build(torch.zeros(2, 3, 1, 1), torch.zeros(2, 3))
