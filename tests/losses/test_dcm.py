"""Equations 4-8 of Dense Cross-Layer Mutual-Distillation."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from mmkd.losses import DCMLoss, dcm

LABELS = torch.tensor([0, 3, 2, 4, 0, 1])


def softmax(row):
    exps = [math.exp(v - max(row)) for v in row]
    return [e / sum(exps) for e in exps]


def cross_entropy(logits):
    rows = zip(logits.tolist(), LABELS.tolist(), strict=True)
    return sum(-math.log(softmax(row)[label]) for row, label in rows) / len(LABELS)


def divergence(student, teacher, tau):
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p_s, p_t = softmax([v / tau for v in s]), softmax([v / tau for v in t])
        total += sum(b * math.log(b / a) for a, b in zip(p_s, p_t, strict=True))
    return tau**2 * total / len(LABELS)


def networks(count, outputs):
    generator = torch.Generator().manual_seed(0)
    shape = (len(LABELS), 5)
    return [
        [
            torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()
            for _ in range(outputs)
        ]
        for _ in range(count)
    ]


def run(loss, logits):
    return loss(logits, [partial(F.cross_entropy, target=LABELS)] * len(logits))


def total(losses, net):
    return sum(value for name, value in losses.items() if name.startswith(f'loss_{net}_'))


@pytest.mark.parametrize(('count', 'outputs'), [(2, 1), (2, 3), (3, 2)])
def test_equals_the_equations(count, outputs):
    logits = networks(count, outputs)
    losses = run(DCMLoss(alpha=0.5, beta=2.0, gamma=3.0, tau=1.5), logits)
    for s in range(count):
        expected = dict(cls=cross_entropy(logits[s][-1]))
        if outputs > 1:
            expected['exits'] = 0.5 * sum(map(cross_entropy, logits[s][:-1]))
        for i in range(outputs):
            for j in range(outputs):
                kind, weight = ('same_stage', 2.0) if i == j else ('cross_stage', 3.0)
                for t in set(range(count)) - {s}:
                    term = divergence(logits[s][j], logits[t][i], 1.5)
                    expected[kind] = expected.get(kind, 0.0) + weight * term / (count - 1)
        found = {
            name.removeprefix(f'loss_net{s + 1}_'): value.item()
            for name, value in losses.items()
            if name.startswith(f'loss_net{s + 1}_')
        }
        assert found == pytest.approx(expected)


def test_without_exits_it_is_deep_mutual_learning():
    logits = networks(2, 1)
    losses = run(DCMLoss(beta=0.7), logits)
    assert set(losses) == {f'loss_net{i}_{kind}' for i in (1, 2) for kind in ('cls', 'same_stage')}
    (first,), (second,) = logits
    expected = cross_entropy(first) + 0.7 * divergence(first, second, 1.0)
    assert total(losses, 'net1').item() == pytest.approx(expected)


@pytest.mark.parametrize('exits', [0, 1, 2, 3])
def test_exits_give_one_same_stage_term_each_and_all_cross_stage_terms(exits, monkeypatch):
    monkeypatch.setattr(dcm, 'kl_divergence', lambda *args: torch.ones(()))
    losses = run(DCMLoss(), networks(2, exits + 1))
    for net in ('net1', 'net2'):
        assert losses[f'loss_{net}_same_stage'] == exits + 1
        assert losses.get(f'loss_{net}_cross_stage', 0) == (exits + 1) * exits


def test_the_target_side_gets_no_gradient():
    logits = networks(3, 2)
    losses = run(DCMLoss(), logits)
    for own in range(3):
        loss = total(losses, f'net{own + 1}')
        for net in range(3):
            grads = torch.autograd.grad(loss, logits[net], retain_graph=True, allow_unused=True)
            assert all((grad is None) == (net != own) for grad in grads)


def test_gradient_is_that_of_the_cross_entropy_of_soft_targets():
    (student,), (teacher,) = networks(2, 1)
    losses = run(DCMLoss(), [[student], [teacher]])
    (found,) = torch.autograd.grad(losses['loss_net1_same_stage'], student)
    targets = teacher.softmax(dim=1).detach()
    equation_2 = -(targets * student.log_softmax(dim=1)).sum(dim=1).mean()
    (expected,) = torch.autograd.grad(equation_2, student)
    assert torch.allclose(found, expected)


def test_no_network_is_special():
    logits = networks(2, 3)
    losses, swapped = run(DCMLoss(), logits), run(DCMLoss(), logits[::-1])
    for kind in ('cls', 'exits', 'same_stage', 'cross_stage'):
        assert torch.equal(losses[f'loss_net1_{kind}'], swapped[f'loss_net2_{kind}'])


def test_q_says_which_classifiers_meet():
    first, second = networks(1, 3)[0], networks(2, 2)[1]
    loss = DCMLoss(stages=[(1, 0), (-1, -1)])
    loss.build([first, second])
    losses = run(loss, [first, second])
    meeting = run(DCMLoss(), [first[1:], second])
    for kind in ('same_stage', 'cross_stage'):
        for net in ('net1', 'net2'):
            assert torch.equal(losses[f'loss_{net}_{kind}'], meeting[f'loss_{net}_{kind}'])
    exits = sum(map(cross_entropy, first[:2]))
    assert losses['loss_net1_exits'].item() == pytest.approx(exits)


def test_what_has_no_weight_is_not_computed(monkeypatch):
    monkeypatch.setattr(dcm, 'kl_divergence', None)
    losses = run(DCMLoss(beta=0.0, gamma=0.0), networks(2, 2))
    assert set(losses) == {f'loss_net{i}_{kind}' for i in (1, 2) for kind in ('cls', 'exits')}


@pytest.mark.parametrize(
    ('stages', 'outputs', 'message'),
    [
        (None, (2, 3), r'networks have \[2, 3\] classifiers'),
        ([(0, 0, 0)], (2, 2), r'objective.stages has \(0, 0, 0\); expected one index for each'),
        ([(-1, -1), (0, 2)], (2, 2), r'objective.stages has \(0, 2\)'),
        ([(-3, 0)], (2, 2), r'objective.stages has \(-3, 0\)'),
        ([(0.5, -1)], (2, 2), r'objective.stages has \(0.5, -1\)'),
        ([0, -1], (2, 2), r'objective.stages has 0; expected one index for each'),
    ],
)
def test_stages_that_do_not_fit_stop_at_build_time(stages, outputs, message):
    logits = [network[:k] for network, k in zip(networks(2, 3), outputs, strict=True)]
    with pytest.raises(ValueError, match=message):
        DCMLoss(stages=stages).build(logits)


def test_different_classes_stop_at_build_time():
    with pytest.raises(ValueError, match=r'predict \[\[5\], \[4\]\] classes'):
        DCMLoss().build([[torch.zeros(2, 5)], [torch.zeros(2, 4)]])


def test_a_temperature_that_is_not_positive_is_an_error():
    with pytest.raises(ValueError, match='tau=0'):
        DCMLoss(tau=0)
