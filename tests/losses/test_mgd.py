import numpy as np
import pytest
import torch

from mmkd.losses import MGDLoss


def maps(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def build(student, teacher, **kwargs):
    torch.manual_seed(0)
    loss = MGDLoss(**kwargs)
    loss.build(student, teacher)
    return loss.double()


def masked_inputs(loss, student, teacher):
    """Run the loss; its value and what entered the generation of each level."""
    inputs = []
    handles = [
        generation.register_forward_pre_hook(lambda module, args: inputs.append(args[0].detach()))
        for generation in loss.generations
    ]
    value = loss(student, teacher)
    for handle in handles:
        handle.remove()
    return value, inputs


def convolve(array, conv):
    """3x3 convolution, position by position."""
    weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
    padded = np.pad(array, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros((len(array), len(bias), *array.shape[2:]))
    for y in range(array.shape[2]):
        for x in range(array.shape[3]):
            window = padded[:, :, y : y + 3, x : x + 3]
            out[:, :, y, x] = np.tensordot(window, weight, axes=([1, 2, 3], [1, 2, 3])) + bias
    return out


def test_equals_the_definition():
    student, teacher = maps(2, 3, 4, 5), maps(2, 6, 4, 5, seed=1)
    loss = build(student, teacher, alpha_mgd=0.5, loss_weight=3.0)
    value, (masked,) = masked_inputs(loss, student, teacher)
    first, _, second = loss.generations[0]
    generated = convolve(np.maximum(convolve(masked.numpy(), first), 0), second)
    expected = 3 * 0.5 * ((generated - teacher.numpy()) ** 2).sum() / 2
    assert value.item() == pytest.approx(expected)


def test_a_masked_position_loses_all_channels_and_others_none():
    student, teacher = maps(4, 3, 32, 32), maps(4, 3, 32, 32, seed=1)
    loss = build(student, teacher, lambda_mgd=0.65)
    _, (masked,) = masked_inputs(loss, student, teacher)
    gone = (masked == 0).all(dim=1, keepdim=True)
    assert torch.equal(masked, student * ~gone)
    assert gone.double().mean().item() == pytest.approx(0.65, abs=0.03)


def test_every_step_and_image_draws_another_mask():
    student, teacher = maps(2, 3, 8, 8), maps(2, 3, 8, 8, seed=1)
    loss = build(student, teacher)
    masks = [masked_inputs(loss, student, teacher)[1][0] == 0 for _ in range(2)]
    assert not torch.equal(*masks)
    assert not torch.equal(*masks[0])


def test_several_levels_add_up():
    student = [maps(2, 3, 4, 4), maps(2, 4, 2, 2)]
    teacher = [maps(2, 3, 4, 4, seed=1), maps(2, 5, 2, 2, seed=1)]
    both = build(student, teacher, lambda_mgd=0.0)
    total = 0.0
    for i in range(2):
        one = build(student[i], teacher[i], lambda_mgd=0.0)
        one.aligns[0], one.generations[0] = both.aligns[i], both.generations[i]
        total += one(student[i], teacher[i]).item()
    assert both(student, teacher).item() == pytest.approx(total)


def test_gradient_reaches_feature_alignment_and_generation():
    student, teacher = maps(1, 2, 3, 3).requires_grad_(), maps(1, 3, 3, 3, seed=1)
    loss = build(student, teacher, alpha_mgd=1.0, lambda_mgd=0.5)

    def with_the_same_mask(feature):
        torch.manual_seed(1)
        return loss(feature, teacher)

    assert torch.autograd.gradcheck(with_the_same_mask, student)
    with_the_same_mask(student).backward()
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student, teacher = [maps(2, 3, 4, 5)], [maps(2, 6, 4, 5, seed=1)]
    check_autocast(build(student, teacher).float(), student, teacher)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r'lambda_mgd must be in \[0, 1\), found 1.0'):
        MGDLoss(lambda_mgd=1.0)
    with pytest.raises(ValueError, match=r'MGDLoss .*\(1, 2, 4, 4\) and .*same stride'):
        build(maps(1, 2, 4, 4), maps(1, 2, 2, 2))
