"""Every loss in half precision against float32: what is near it stays near it."""

import pytest
import torch
from terms import TERMS, build, labels, logits, one_map
from torch.nn.functional import cross_entropy

import mmkd.losses
from mmkd.losses import DCMLoss, DistillLoss, ExitLoss

#: Relative distance of losses from float32.
BOUNDS = {torch.bfloat16: 4e-3, torch.float16: 1e-3}
#: That of gradients, which jump where the input of a ReLU is rounded across zero.
GRADIENT = 0.1
#: The gradient of an absolute difference jumps where that does.
SIGNS = dict(FactorTransferLoss=0.3)
EXITS = ['BEEDLoss', 'BYOTLoss', 'ExitCELoss', 'ExitKDLoss', 'ONELoss']


def cast(value, dtype):
    """Leaves of a precision."""
    if isinstance(value, torch.Tensor):
        return value.detach().to(dtype)
    return [cast(item, dtype) for item in value]


def leaves(value):
    return [value] if isinstance(value, torch.Tensor) else [x for v in value for x in leaves(v)]


def test_every_loss_is_here():
    exported = {name: getattr(mmkd.losses, name) for name in mmkd.losses.__all__}
    terms = {n for n, c in exported.items() if issubclass(c, DistillLoss)} - {'DistillLoss'}
    exits = {n for n, c in exported.items() if issubclass(c, ExitLoss)} - {'ExitLoss'}
    assert (terms, exits) == (TERMS.keys(), set(EXITS))
    # What is left compares whole networks.
    left = exported.keys() - terms - exits - {'DistillLoss', 'ExitLoss'}
    assert [exported[name] for name in left] == [DCMLoss]


def evaluate(loss, student, teacher, samples, dtype):
    """Loss and the gradient in all that the student gave, as one vector in float32."""
    student, teacher = cast(student, dtype), cast(teacher, dtype)
    sides = [side.requires_grad_() for side in leaves(student)]
    torch.manual_seed(0)
    with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
        value = loss(student, teacher, samples)
    assert value.dtype == torch.float32
    grads = torch.autograd.grad(value, sides, allow_unused=True)
    return value.item(), torch.cat([g.float().flatten() for g in grads if g is not None])


@pytest.mark.parametrize('dtype', BOUNDS, ids=['bf16', 'fp16'])
@pytest.mark.parametrize('name', TERMS)
def test_a_term_and_its_gradient_stay_near_float32(name, dtype, dense_batch):
    _, (student, teacher), kind = TERMS[name]
    samples = dict(images=labels(), scenes=dense_batch).get(kind)
    loss = build(name)
    loss.eval()
    state = {key: value.clone() for key, value in loss.state_dict().items()}
    expected, gradient = evaluate(loss, student, teacher, samples, torch.float32)
    loss.load_state_dict(state)
    found, half = evaluate(loss, student, teacher, samples, dtype)
    assert found == pytest.approx(expected, rel=BOUNDS[dtype])
    assert (half - gradient).norm() < SIGNS.get(name, GRADIENT) * gradient.norm()


@pytest.mark.parametrize('dtype', BOUNDS, ids=['bf16', 'fp16'])
@pytest.mark.parametrize('name', EXITS)
def test_an_objective_stays_near_float32(name, dtype):
    outputs = [logits(seed) for seed in range(4)]
    features = [one_map(seed) for seed in range(4)]
    features = [torch.cat([feature, feature]) for feature in features]
    torch.manual_seed(0)
    loss = getattr(mmkd.losses, name)()
    loss.build(outputs, features, features[0])
    loss.eval()

    def classify(z):
        return cross_entropy(z, torch.arange(8))

    expected = loss(outputs, features, classify, features[0])
    outputs, features = cast(outputs, dtype), cast(features, dtype)
    with torch.autocast('cpu', dtype):
        found = loss(outputs, features, classify, features[0])
    for key, value in expected.items():
        assert found[key].item() == pytest.approx(value.item(), rel=BOUNDS[dtype]), key


@pytest.mark.parametrize('dtype', BOUNDS, ids=['bf16', 'fp16'])
def test_what_peers_minimise_stays_near_float32_with_its_gradient(dtype):
    peers = [[logits(0), logits(1)], [logits(2), logits(3)]]

    def classify(z):
        return cross_entropy(z, torch.arange(8))

    def compute(dtype):
        networks = cast(peers, dtype)
        sides = [z.requires_grad_() for z in leaves(networks)]
        with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
            losses = DCMLoss(tau=2.0)(networks, [classify] * 2)
        assert {value.dtype for value in losses.values()} == {torch.float32}
        grads = torch.autograd.grad(sum(losses.values()), sides)
        return losses, torch.cat([grad.float().flatten() for grad in grads])

    expected, gradient = compute(torch.float32)
    found, half = compute(dtype)
    for key, value in expected.items():
        assert found[key].item() == pytest.approx(value.item(), rel=BOUNDS[dtype]), key
    assert (half - gradient).norm() < GRADIENT * gradient.norm()
