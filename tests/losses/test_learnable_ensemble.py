import math

import pytest
import torch
from mmpretrain.structures import DataSample

from mmkd.losses import LearnableEnsembleLoss


def softmax(row):
    exps = [math.exp(v - max(row)) for v in row]
    return [e / sum(exps) for e in exps]


def reference(members, scores, labels, tau):
    """The definition, entry by entry."""
    weights = softmax(scores)
    total = 0.0
    for n, label in enumerate(labels):
        rows = [member[n].tolist() for member in members]
        ensemble = [
            sum(w * z for w, z in zip(weights, entries, strict=True))
            for entries in zip(*rows, strict=True)
        ]
        total -= math.log(softmax(ensemble)[label])
        p_e = softmax([z / tau for z in ensemble])
        for row in rows:
            p_m = softmax([z / tau for z in row])
            total += tau**2 * sum(e * math.log(e / m) for e, m in zip(p_e, p_m, strict=True))
    return total / len(labels)


@pytest.fixture
def members():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 5, dtype=torch.float64, generator=generator) * 3 for _ in range(2)]


@pytest.fixture
def samples():
    return [DataSample().set_gt_label(label) for label in (0, 3, 3, 1)]


def build(members, **kwargs):
    loss = LearnableEnsembleLoss(**kwargs)
    loss.build(members, members)
    return loss.double()


def detached(members):
    return [member.detach() for member in members]


@pytest.mark.parametrize('tau', [1.0, 3.0])
def test_equals_the_definition(members, samples, tau):
    loss = build(members, tau=tau, loss_weight=0.5)
    loss.scores.data = torch.tensor([0.3, -0.7], dtype=torch.float64)
    expected = 0.5 * reference(members, [0.3, -0.7], [0, 3, 3, 1], tau)
    assert loss(members, members, samples).item() == pytest.approx(expected)


def test_members_start_with_equal_weights(members, samples):
    loss = build(members)
    swapped = members[::-1]
    assert loss(members, members, samples).item() == pytest.approx(
        loss(swapped, swapped, samples).item()
    )


def test_gradient_reaches_every_member_and_the_scores(members, samples):
    loss = build(members)
    members = [member.requires_grad_() for member in members]
    loss(members, detached(members), samples).backward()
    assert all(member.grad.abs().sum() > 0 for member in members)
    assert loss.scores.grad.abs().sum() > 0


def test_the_kl_trains_no_scores(members):
    """With the ensemble's own prediction as labels the cross entropy has no gradient left."""
    loss = build(members)
    loss.scores.data = torch.tensor([0.3, -0.7], dtype=torch.float64)
    first, second = softmax([0.3, -0.7])
    own = (first * members[0] + second * members[1]).softmax(1)
    samples = [DataSample().set_gt_score(row) for row in own]
    loss(members, members, samples).backward()
    assert loss.scores.grad.abs().max() < 1e-12


def test_soft_labels_of_batch_augments(members, samples):
    loss = build(members)
    onehot = [
        DataSample().set_gt_score(torch.eye(5, dtype=torch.float64)[label])
        for label in (0, 3, 3, 1)
    ]
    hard, soft = (loss(members, members, data) for data in (samples, onehot))
    assert hard.item() == pytest.approx(soft.item())


def test_scores_learn_which_member_is_right(samples):
    right = torch.eye(5)[[0, 3, 3, 1]] * 4
    members = [right, torch.zeros(4, 5)]
    loss = build(members).float()
    loss(members, members, samples).backward()
    assert loss.scores.grad[0] < 0 < loss.scores.grad[1]


@pytest.mark.parametrize(
    ('shapes', 'message'),
    [
        ([(4, 5)], 'at least two members'),
        ([(4, 5), (4, 6)], 'same classes'),
        ([(4, 5, 2, 2), (4, 5, 2, 2)], 'takes logits'),
    ],
)
def test_wrong_members_are_refused(shapes, message):
    members = [torch.zeros(shape) for shape in shapes]
    with pytest.raises(ValueError, match=message):
        LearnableEnsembleLoss().build(members, members)


def test_other_logits_on_the_teacher_side_are_refused(members):
    """Else the ensemble that is distilled would be none of the members."""
    LearnableEnsembleLoss().build(members, detached(members))
    for other in (members[::-1], [members[1]] * 2, [member.clone() for member in members]):
        with pytest.raises(ValueError, match='different logits; give the same list to both'):
            LearnableEnsembleLoss().build(members, other)


def test_bad_arguments_are_refused(members):
    with pytest.raises(ValueError, match='tau=0'):
        LearnableEnsembleLoss(tau=0)
    with pytest.raises(ValueError, match='needs the labels'):
        build(members)(members, members, None)


def test_autocast(check_autocast, members, samples):
    loss = LearnableEnsembleLoss()
    loss.build(members, members)
    check_autocast(loss, members, members, samples)
