"""Objectives of networks with exits, against their equations evaluated entry by entry."""

import math

import pytest
import torch
import torch.nn.functional as F

from mmkd.losses import BEEDLoss, BYOTLoss, ExitCELoss, ExitKDLoss, ONELoss
from mmkd.losses.one import gated_sum

LABELS = [0, 3, 2, 2, 1, 0]


def softmax(row, tau=1.0):
    exps = [math.exp((v - max(row)) / tau) for v in row]
    return [e / sum(exps) for e in exps]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def cross_entropy(z):
    return mean(-math.log(softmax(row)[y]) for row, y in zip(z.tolist(), LABELS, strict=True))


def divergence(student, teacher, tau):
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p_s, p_t = softmax(s, tau), softmax(t, tau)
        total += sum(b * math.log(b / a) for a, b in zip(p_s, p_t, strict=True))
    return tau**2 * total / len(student)


def mean_squares(a, b):
    pairs = zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)
    return mean((x - y) ** 2 for x, y in pairs)


def classify(z):
    return F.cross_entropy(z, torch.tensor(LABELS))


@pytest.fixture(params=[3, 4], ids=['3 classifiers', '4 classifiers'])
def inputs(request):
    """Logits and features of all classifiers."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(len(LABELS), 5)] * request.param + [(len(LABELS), 4, 2, 2)] * request.param
    tensors = [3 * torch.randn(*s, dtype=torch.float64, generator=generator) for s in shapes]
    tensors = [tensor.requires_grad_() for tensor in tensors]
    return tensors[: request.param], tensors[request.param :]


def shared_map(channels=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(LABELS), channels, 2, 2, dtype=torch.float64, generator=generator)


def close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value), name


def names(count):
    return [f'exit{i + 1}' for i in range(count - 1)] + ['main']


def cls_terms(logits, weights=None):
    weights = weights or [1.0] * len(logits)
    return {
        f'loss_{name}_cls': weight * cross_entropy(z)
        for name, weight, z in zip(names(len(logits)), weights, logits, strict=True)
    }


def gradient(value, tensors):
    """Gradients, zero where the value does not depend on a tensor."""
    grads = torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True)
    return [torch.zeros(()) if grad is None else grad for grad in grads]


def test_ce_is_the_sum_over_all_classifiers(inputs):
    close(ExitCELoss()(*inputs, classify), cls_terms(inputs[0]))


def test_kd_equals_its_equation(inputs):
    logits, features = inputs
    expected = cls_terms(logits)
    for i, (z, h) in enumerate(zip(logits[:-1], features[:-1], strict=True), 1):
        expected[f'loss_exit{i}_kd'] = 0.1 * divergence(z, logits[-1], 3.0)
        expected[f'loss_exit{i}_feature'] = 0.025 * mean_squares(h, features[-1])
    close(ExitKDLoss()(*inputs, classify), expected)


def beed_terms(logits, features, balance, importance, tau=3.0, kd=1.0, feature=0.1):
    count = len(logits)
    total = sum(importance ** (e - 1) for e in range(1, count + 1))
    weights = [importance ** (e - 1) / total for e in range(1, count + 1)]
    ensemble = torch.zeros_like(logits[0])
    hint = torch.zeros_like(features[0])
    for w, z, h in zip(weights, logits, features, strict=True):
        ensemble += w * z.detach()
        hint += w * h.detach()
    factors = [balance ** (count - e) for e in range(1, count + 1)]
    expected = cls_terms(logits, [2 - factor for factor in factors])
    for name, factor, z, h in zip(names(count), factors, logits, features, strict=True):
        expected[f'loss_{name}_kd'] = kd * factor * divergence(z, ensemble, tau)
        expected[f'loss_{name}_feature'] = feature * mean_squares(h, hint)
    return expected


def test_beed_equals_its_equation_with_the_published_weights(inputs):
    close(BEEDLoss()(*inputs, classify), beed_terms(*inputs, balance=1.15, importance=1.6))


def test_beed_equals_its_equation_with_other_weights(inputs):
    loss = BEEDLoss(balance=1.2, importance=0.7, tau=2.0, kd_weight=0.5, feature_weight=3.0)
    expected = beed_terms(*inputs, balance=1.2, importance=0.7, tau=2.0, kd=0.5, feature=3.0)
    close(loss(*inputs, classify), expected)


def test_beed_without_balance_is_eed(inputs):
    """Every classifier has weight 1 for cross entropy and distillation."""
    found = BEEDLoss(balance=1.0)(*inputs, classify)
    close(found, beed_terms(*inputs, balance=1.0, importance=1.6))
    for name, value in cls_terms(inputs[0]).items():
        assert found[name].item() == pytest.approx(value)


def test_balance_moves_shallow_exits_from_labels_to_the_ensemble(inputs):
    plain, balanced = (BEEDLoss(balance=b)(*inputs, classify) for b in (1.0, 1.15))
    for name in names(len(inputs[0]))[:-1]:
        assert balanced[f'loss_{name}_cls'] < plain[f'loss_{name}_cls']
        assert balanced[f'loss_{name}_kd'] > plain[f'loss_{name}_kd']
    assert balanced['loss_main_cls'] == plain['loss_main_cls']


def test_the_ensemble_is_a_target_without_gradient(inputs):
    """Of a classifier's terms only its own logits and features get any."""
    logits, features = inputs
    found = BEEDLoss()(logits, features, classify)
    for i, name in enumerate(names(len(logits))):
        for kind, tensors in (('kd', logits), ('feature', features)):
            grads = gradient(found[f'loss_{name}_{kind}'], tensors)
            reached = [j for j, grad in enumerate(grads) if grad.abs().sum() > 0]
            assert reached == [i], (name, kind)


@pytest.mark.parametrize('loss', [ExitKDLoss(), BYOTLoss()], ids=['KD', 'BYOT'])
def test_the_main_classifier_is_a_target_without_gradient(inputs, loss):
    logits, features = inputs
    found = loss(logits, features, classify)
    for i in range(len(logits) - 1):
        for kind, tensors in (('kd', logits), ('feature', features)):
            grads = gradient(found[f'loss_exit{i + 1}_{kind}'], tensors)
            assert [j for j, grad in enumerate(grads) if grad.abs().sum() > 0] == [i]
    assert not any('main' in name and 'cls' not in name for name in found)


def test_byot_equals_its_equation(inputs):
    logits, features = inputs
    loss = BYOTLoss(tau=2.0, kd_weight=0.3, feature_weight=0.01)
    expected = cls_terms(logits, [0.7] * (len(logits) - 1) + [1.0])
    deepest = features[-1].tolist()
    for i, (z, h) in enumerate(zip(logits[:-1], features[:-1], strict=True), 1):
        expected[f'loss_exit{i}_kd'] = 0.3 * divergence(z, logits[-1], 2.0)
        squares = 0.0
        for ours, theirs in zip(h.tolist(), deepest, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                squares += (mean(sum(a, [])) - mean(sum(b, []))) ** 2
        expected[f'loss_exit{i}_feature'] = 0.01 * squares / len(LABELS)
    close(loss(*inputs, classify), expected)


def test_byot_takes_a_vector_as_what_is_pooled(inputs):
    logits, features = inputs
    vectors = [feature.mean(dim=(2, 3)) for feature in features]
    BYOTLoss().build(logits, vectors)
    found = {name: term.item() for name, term in BYOTLoss()(logits, vectors, classify).items()}
    close(BYOTLoss()(*inputs, classify), found)
    with pytest.raises(ValueError, match=r'BYOTLoss.*exits\[0\] \(3,\) and \(4,\)'):
        BYOTLoss().build(logits, [vectors[0][:, :3], *vectors[1:]])


def test_byot_has_the_constants_of_its_source_at_batch_128():
    loss = BYOTLoss()
    assert loss.feature_weight / 128 == pytest.approx(1e-6)
    assert (loss.kd_weight, loss.kd.tau) == (0.1, 3.0)


class TestONE:
    @pytest.fixture
    def loss(self, inputs):
        torch.manual_seed(0)
        loss = ONELoss(tau=2.0)
        loss.build(*inputs, shared_map())
        return loss.double()

    def test_equals_its_equation(self, inputs, loss):
        logits, features = inputs
        linear, norm = loss.gate[2], loss.gate[3]
        with torch.no_grad():
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_()
        pooled = [[mean(sum(c, [])) for c in image] for image in shared_map().tolist()]
        columns = []
        for w, b, scale, shift in zip(
            linear.weight.tolist(), linear.bias.tolist(), norm.weight, norm.bias, strict=True
        ):
            column = [sum(x * y for x, y in zip(w, row, strict=True)) + b for row in pooled]
            center = mean(column)
            spread = math.sqrt(mean((x - center) ** 2 for x in column) + norm.eps)
            columns.append(
                [max(0.0, (x - center) / spread * scale.item() + shift.item()) for x in column]
            )
        gates = [softmax(list(row)) for row in zip(*columns, strict=True)]
        ensemble = torch.stack(
            [
                sum(g * z[n] for g, z in zip(row, logits, strict=True)).detach()
                for n, row in enumerate(gates)
            ]
        )
        expected = cls_terms(logits)
        expected['loss_ensemble_cls'] = cross_entropy(ensemble)
        for name, z in zip(names(len(logits)), logits, strict=True):
            expected[f'loss_{name}_kd'] = divergence(z, ensemble, 2.0)
        close(loss(logits, features, classify, shared_map()), expected)

    def test_labels_train_the_gate_and_distillation_does_not(self, inputs, loss):
        logits, features = inputs
        found = loss(logits, features, classify, shared_map())
        weight = loss.gate[2].weight
        assert gradient(found['loss_ensemble_cls'], [weight])[0].abs().sum() > 0
        for i, name in enumerate(names(len(logits))):
            grads = gradient(found[f'loss_{name}_kd'], [*logits, weight])
            assert [j for j, grad in enumerate(grads) if grad.abs().sum() > 0] == [i]

    def test_the_ensemble_is_summed_in_float32(self):
        logits = [torch.randn(6, 5).bfloat16() for _ in range(3)]
        gates = torch.rand(6, 3).bfloat16()
        with torch.autocast('cpu', dtype=torch.bfloat16):
            ensemble = gated_sum(logits, gates)
        assert ensemble.dtype == torch.float32
        expected = sum(gates[:, [b]].float() * z.float() for b, z in enumerate(logits))
        assert torch.allclose(ensemble, expected, rtol=1e-6, atol=1e-6)

    def test_without_a_tap_it_says_so(self, inputs):
        with pytest.raises(ValueError, match='found NoneType; set objective.tap'):
            ONELoss().build(*inputs)


@pytest.mark.parametrize(
    'loss', [ExitKDLoss(), BEEDLoss(), BYOTLoss()], ids=lambda loss: type(loss).__name__
)
def test_features_of_other_shapes_are_refused_with_all_names(inputs, loss):
    logits, features = inputs
    features = [torch.zeros(2, 7, 2, 2), *features[1:]]
    with pytest.raises(ValueError, match=rf'{type(loss).__name__}.*exits\[0\] \(7.*\(4,.*main'):
        loss.build(logits, features)


@pytest.mark.parametrize('loss', [ExitKDLoss(), BEEDLoss()], ids=lambda loss: type(loss).__name__)
def test_features_are_not_broadcast_where_images_give_other_sizes(inputs, loss):
    logits, features = inputs
    loss.build(logits, features)
    features = [features[0][..., :1, :1], *features[1:]]
    with pytest.raises(ValueError, match=r'exits\[0\] \(4, 1, 1\) and \(4, 2, 2\).*strides divide'):
        loss(logits, features, classify)


@pytest.mark.parametrize('name', ['balance', 'importance'])
@pytest.mark.parametrize('value', [0.0, -1.0])
def test_a_weight_that_is_not_positive_is_refused(name, value):
    with pytest.raises(ValueError, match=rf'BEEDLoss: .*{name}={value}.*must be positive'):
        BEEDLoss(**{name: value})


def test_a_negative_weight_of_the_cross_entropy_is_refused():
    logits, features = [torch.zeros(2, 5)] * 4, [torch.zeros(2, 3)] * 4
    BEEDLoss(balance=1.25).build(logits, features)
    with pytest.raises(ValueError, match='balance=1.3 with 3 exits.*weight -0.197'):
        BEEDLoss(balance=1.3).build(logits, features)


@pytest.mark.parametrize('loss', [ExitKDLoss, BEEDLoss, BYOTLoss, ONELoss])
def test_a_temperature_of_zero_is_refused(loss):
    with pytest.raises(ValueError, match='tau must be positive'):
        loss(tau=0)


@pytest.mark.parametrize('loss', [ExitCELoss, ExitKDLoss, BEEDLoss, BYOTLoss, ONELoss])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=['bf16', 'fp16'])
def test_half_precision_is_compared_in_float32(loss, dtype):
    """Features up to 1e4 overflow half precision when squared or summed."""
    torch.manual_seed(0)
    logits = [(100 * torch.randn(6, 5)).to(dtype).requires_grad_() for _ in range(4)]
    features = [(3e3 * torch.randn(6, 4, 2, 2)).to(dtype).requires_grad_() for _ in range(4)]
    shared = torch.randn(6, 3, 2, 2)
    loss = loss()
    loss.build(logits, features, shared)
    with torch.autocast('cpu', dtype=dtype):
        losses = loss(logits, features, classify, shared)
        upcast = [[tensor.float() for tensor in tensors] for tensors in (logits, features)]
        expected = loss(*upcast, classify, shared)
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert losses == expected
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(z.grad.isfinite().all() for z in logits)
