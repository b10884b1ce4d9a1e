import copy

import numpy as np
import pytest
import torch
from mmengine.runner.checkpoint import get_state_dict, load_state_dict

from mmkd.losses import FactorTransferLoss


def maps(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def build(student, teacher, pretrained=True, **kwargs):
    torch.manual_seed(0)
    loss = FactorTransferLoss(**kwargs)
    loss.build(student, teacher)
    loss.double()
    for name, tensor in [*loss.named_parameters(), *loss.named_buffers()]:
        # Batch norm that does nothing would hide what is wrong with it.
        if 'bn' in name and tensor.is_floating_point():
            tensor.data.uniform_(0.5, 1.5)
    if pretrained:
        with loss.pretraining():
            pass
    return loss


def convolve(x, weight, bias=0.0):
    """3x3 convolution with a border of zeros, position by position; (N, C, H, W)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.empty((len(x), len(weight), *x.shape[2:]))
    for y in range(x.shape[2]):
        for z in range(x.shape[3]):
            window = padded[:, :, y : y + 3, z : z + 3]
            out[:, :, y, z] = np.tensordot(window, weight, axes=((1, 2, 3), (1, 2, 3)))
    return out


def run_layers(layers, x, transposed=False):
    for layer in layers:
        weight = layer.conv.weight.detach().numpy()
        if transposed:
            weight = weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        x = convolve(x, weight)
        if not hasattr(layer, 'bn'):
            x = x + layer.conv.bias.detach().numpy()[:, None, None]
            x = np.where(x > 0, x, 0.1 * x)
            continue
        bn = layer.bn
        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        gamma, beta = bn.weight.detach().numpy(), bn.bias.detach().numpy()
        x = (x - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None]
        x = gamma[:, None, None] * x + beta[:, None, None]
        x = np.where(x > 0, x, 0.1 * x)
    return x


def distance(first, second):
    total = 0.0
    for x, y in zip(first, second, strict=True):
        x, y = x.flatten().tolist(), y.flatten().tolist()
        norm_x, norm_y = (sum(v**2 for v in values) ** 0.5 for values in (x, y))
        total += sum(abs(a / norm_x - b / norm_y) for a, b in zip(x, y, strict=True)) / len(x)
    return total / len(first)


def energy(factor):
    return (factor**2).mean(axis=1, keepdims=True)


def reference(loss, student, teacher, level=0, of=energy):
    factor_t = run_layers(loss.paraphrasers[level].encoder, teacher.numpy())
    factor_s = run_layers(loss.translators[level], student.detach().numpy())
    return distance(of(factor_s), of(factor_t))


def test_equals_the_benchmarks_definition():
    student, teacher = maps(2, 3, 4, 3), maps(2, 6, 4, 3, seed=1)
    loss = build(student, teacher, form='crd', loss_weight=200.0)
    assert all(hasattr(layer, 'bn') for layer in loss.translators[0])
    expected = 200 * reference(loss, student, teacher)
    assert loss(student, teacher).item() == pytest.approx(expected)


def test_equals_the_authors_definition():
    student, teacher = maps(2, 3, 4, 3), maps(2, 6, 4, 3, seed=1)
    loss = build(student, teacher, form='authors', loss_weight=500.0)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in loss.modules())
    expected = 500 * reference(loss, student, teacher, of=lambda factor: factor)
    assert loss(student, teacher).item() == pytest.approx(expected)


def test_factor_has_the_paraphrase_rate_times_the_teachers_channels():
    student, teacher = maps(2, 3, 2, 2), maps(2, 8, 2, 2)
    for rate, channels in ((0.5, 4), (0.75, 6), (2.0, 16)):
        loss = build(student, teacher, rate=rate)
        assert loss.paraphrasers[0].encoder(teacher).shape[1] == channels
        assert loss.translators[0](student).shape[1] == channels


def test_several_levels_add_up():
    student = [maps(2, 3, 4, 4), maps(2, 4, 2, 2)]
    teacher = [maps(2, 4, 4, 4, seed=1), maps(2, 6, 2, 2, seed=1)]
    loss = build(student, teacher)
    parts = sum(reference(loss, student[i], teacher[i], level=i) for i in (0, 1))
    assert loss(student, teacher).item() == pytest.approx(parts)


@pytest.mark.parametrize('larger', ['student', 'teacher'])
def test_larger_factor_is_average_pooled(larger):
    sizes = dict(student=2, teacher=2)
    sizes[larger] = 4
    student = maps(2, 3, sizes['student'], sizes['student'])
    teacher = maps(2, 4, sizes['teacher'], sizes['teacher'], seed=1)
    loss = build(student, teacher)
    factors = dict(
        teacher=run_layers(loss.paraphrasers[0].encoder, teacher.numpy()),
        student=run_layers(loss.translators[0], student.numpy()),
    )
    factors[larger] = factors[larger].reshape(2, 2, 2, 2, 2, 2).mean(axis=(3, 5))
    expected = distance(energy(factors['student']), energy(factors['teacher']))
    assert loss(student, teacher).item() == pytest.approx(expected)


def test_scale_of_a_factor_changes_nothing():
    student, teacher = maps(2, 3, 4, 4), maps(2, 6, 4, 4, seed=1)
    loss = build(student, teacher)
    value = loss(student, teacher).item()
    for last in (loss.translators[0][-1].bn, loss.paraphrasers[0].encoder[-1].conv):
        last.weight.data *= 7
        last.bias.data *= 7
        assert loss(student, teacher).item() == pytest.approx(value)


def test_zero_with_zero_gradient_where_the_factors_agree():
    teacher = maps(2, 4, 3, 3)
    loss = build(teacher, teacher, form='authors')
    loss.translators[0].load_state_dict(loss.paraphrasers[0].encoder.state_dict())
    student = teacher.clone().requires_grad_()
    value = loss.eval()(student, teacher)
    value.backward()
    assert value == 0
    assert (student.grad == 0).all()


@pytest.mark.parametrize(('form', 'error'), [('crd', np.square), ('authors', np.abs)])
def test_pretraining_minimises_the_error_of_the_rebuilt_maps(form, error):
    teacher = [maps(2, 4, 4, 4), maps(2, 6, 3, 3)]
    loss = build(teacher, teacher, pretrained=False, form=form)
    expected = 0.0
    for paraphraser, t in zip(loss.paraphrasers, teacher, strict=True):
        factor = run_layers(paraphraser.encoder, t.numpy())
        rebuilt = run_layers(paraphraser.decoder, factor, transposed=True)
        expected += error(rebuilt - t.numpy()).mean()
    with loss.pretraining():
        assert loss.pretrain_loss(teacher).item() == pytest.approx(expected)


def test_pretraining_trains_the_paraphraser_alone():
    student, teacher = maps(4, 3, 4, 4), maps(4, 6, 4, 4, seed=1).abs()
    loss = build(student, teacher, pretrained=False)
    before = {name: p.detach().clone() for name, p in loss.named_parameters()}
    with loss.pretraining() as parameters:
        optimizer = torch.optim.Adam(parameters, lr=0.01)
        errors = []
        for _ in range(40):
            optimizer.zero_grad()
            error = loss.pretrain_loss(teacher)
            error.backward()
            optimizer.step()
            errors.append(error.item())
    assert errors[-1] < 0.5 * errors[0]
    for name, parameter in loss.named_parameters():
        assert parameter.equal(before[name]) == name.startswith('translators'), name


def test_student_phase_trains_the_translator_alone():
    student, teacher = maps(4, 3, 4, 4).requires_grad_(), maps(4, 6, 4, 4, seed=1)
    loss = build(student, teacher).train()
    frozen = copy.deepcopy(loss.paraphrasers.state_dict())
    loss(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    for name, parameter in loss.named_parameters():
        trained = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert trained == parameter.requires_grad == name.startswith('translators'), name
    # Running statistics too.
    for name, value in loss.paraphrasers.state_dict().items():
        assert value.equal(frozen[name]), name


def test_gradient():
    student, teacher = maps(2, 2, 2, 2).requires_grad_(), maps(2, 3, 2, 2, seed=1)
    loss = build(student, teacher, rate=1.0)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)


def test_student_before_pretraining_is_refused():
    student, teacher = maps(2, 3, 4, 4), maps(2, 6, 4, 4, seed=1)
    loss = build(student, teacher, pretrained=False)
    with pytest.raises(RuntimeError, match='has not been pre-trained.*load a checkpoint'):
        loss(student, teacher)


def test_interrupted_pretraining_does_not_count():
    student, teacher = maps(2, 3, 4, 4), maps(2, 6, 4, 4, seed=1)
    loss = build(student, teacher, pretrained=False)
    with pytest.raises(KeyboardInterrupt), loss.pretraining():
        raise KeyboardInterrupt
    assert not loss.pretrained
    with pytest.raises(RuntimeError, match='has not been pre-trained'):
        loss(student, teacher)


@pytest.mark.parametrize('by', ['torch', 'mmengine'])
def test_loaded_paraphraser_is_frozen_and_needs_no_pretraining(by):
    student, teacher = maps(2, 3, 4, 4), maps(2, 6, 4, 4, seed=1)
    saved, loaded = build(student, teacher), build(student, teacher, pretrained=False).train()
    if by == 'torch':
        loaded.load_state_dict(saved.state_dict())
    else:
        load_state_dict(loaded, get_state_dict(saved), strict=True)
    assert loaded(student, teacher) == saved(student, teacher)
    state = saved.paraphrasers.state_dict()
    for name, value in loaded.paraphrasers.state_dict().items():
        assert value.equal(state[name]), name


def test_batch_of_one():
    student, teacher = maps(1, 3, 4, 4), maps(1, 6, 4, 4, seed=1)
    loss = build(student, teacher)
    assert loss(student, teacher).item() == pytest.approx(reference(loss, student, teacher))
    pixel = maps(1, 3, 1, 1)
    with pytest.raises(ValueError, match='more than 1 value per channel when training'):
        build(pixel, pixel)(pixel, pixel)


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    student, teacher = maps(2, 3, 4, 4), maps(2, 6, 4, 4, seed=1)
    check_autocast(build(student, teacher).float(), [student], [teacher])


def test_vectors_and_rates_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r'FactorTransferLoss takes maps.*\(2, 3\).*tap stages'):
        FactorTransferLoss().build(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"unknown form='paper'.*'crd', 'authors'"):
        FactorTransferLoss(form='paper')
    with pytest.raises(ValueError, match='rate must be positive, found rate=0'):
        FactorTransferLoss(rate=0)
