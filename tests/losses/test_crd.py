import copy
import math

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample
from torch._subclasses import FakeTensorMode

import mmkd.losses.crd
from mmkd.losses import CRDLoss
from mmkd.losses.crd import draw_negatives

SIZE = dict(num_data=12, embed_dims=4, num_negatives=7)


def vectors(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def samples(*indices, classes=3):
    """Data samples of these indices; sample i is of class i % classes."""
    return [DataSample(metainfo=dict(sample_idx=i)).set_gt_label(i % classes) for i in indices]


def build(**kwargs):
    torch.manual_seed(0)
    loss = CRDLoss(**{**SIZE, **kwargs})
    loss.build(vectors(2, 5), vectors(2, 6))
    return loss.double()


def step(loss, indices, seed=0):
    student, teacher = vectors(len(indices), 5, seed=seed), vectors(len(indices), 6, seed=50 + seed)
    return loss(student, teacher, samples(*indices))


def state(loss):
    return {name: value.clone() for name, value in loss.state_dict().items()}


@pytest.fixture
def drawn(monkeypatch):
    """The negatives of every step, as they are drawn."""
    record = []

    def draw(*args):
        record.append(draw_negatives(*args))
        return record[-1]

    monkeypatch.setattr(mmkd.losses.crd, 'draw_negatives', draw)
    return record


class Reference:
    """Sample by sample, with probabilities instead of their logarithms."""

    def __init__(self, loss):
        self.loss = loss
        self.banks = [loss.student_bank.numpy().copy(), loss.teacher_bank.numpy().copy()]
        self.normalizers = None

    def embed(self, linear, x):
        weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
        rows = [weight @ row + bias for row in x.numpy()]
        return [row / math.sqrt((row**2).sum()) for row in rows]

    def step(self, student, teacher, indices, negatives):
        own = [
            self.embed(self.loss.student_embedding, student),
            self.embed(self.loss.teacher_embedding, teacher),
        ]
        num_data, num_negatives = len(self.banks[0]), negatives.shape[1]
        scores = [
            [
                [math.exp(anchor @ bank[j] / self.loss.tau) for j in [i, *others]]
                for anchor, i, others in zip(anchors, indices, negatives.tolist(), strict=True)
            ]
            for anchors, bank in zip(own, reversed(self.banks), strict=True)
        ]
        if self.normalizers is None:
            self.normalizers = [num_data * np.mean(direction) for direction in scores]
        total, noise = 0.0, num_negatives / num_data
        for direction, normalizer in zip(scores, self.normalizers, strict=True):
            for positive, *others in direction:
                positive = positive / normalizer
                total -= math.log(positive / (positive + noise))
                for score in others:
                    total -= math.log(noise / (score / normalizer + noise))
        for bank, rows in zip(self.banks, own, strict=True):
            for i, row in zip(indices, rows, strict=True):
                row = self.loss.momentum * bank[i] + (1 - self.loss.momentum) * row
                bank[i] = row / math.sqrt((row**2).sum())
        return total / len(indices)


def test_equals_the_definition_over_several_steps(drawn):
    loss = build(tau=0.3, momentum=0.8, loss_weight=2.0)
    reference = Reference(loss)
    for seed, indices in enumerate([[0, 4, 5], [5, 1, 9], [11, 0, 5]]):
        student, teacher = vectors(3, 5, seed=seed), vectors(3, 6, seed=50 + seed)
        value = loss(student, teacher, samples(*indices))
        expected = reference.step(student, teacher, indices, drawn[-1])
        assert value.item() == pytest.approx(2 * expected)
        assert np.allclose(loss.student_bank.numpy(), reference.banks[0])
        assert np.allclose(loss.teacher_bank.numpy(), reference.banks[1])
        assert loss.log_normalizers.exp().tolist() == pytest.approx(reference.normalizers)


def test_gradient():
    loss = build(tau=0.5)
    step(loss, [0, 1, 2])
    loss.eval()  # each call would move the banks
    teacher, batch = vectors(2, 6, seed=1), samples(3, 4)

    def value(student, *parameters):
        torch.manual_seed(0)
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(loss, given, (student, teacher, batch))

    names = [name for name, _ in loss.named_parameters()]
    assert len(names) == 4
    inputs = (vectors(2, 5).requires_grad_(), *loss.parameters())
    assert torch.autograd.gradcheck(value, inputs)


def test_gradient_reaches_student_and_embeddings_but_no_bank():
    loss = build()
    student, teacher = vectors(3, 5).requires_grad_(), vectors(3, 6)
    for seed in range(2):
        loss(student, teacher + seed, samples(0, 4, 5)).backward()
    assert student.grad.abs().sum() > 0
    assert {name.split('.')[0] for name, _ in loss.named_parameters()} == {
        'student_embedding',
        'teacher_embedding',
    }
    assert all(parameter.grad.abs().sum() > 0 for parameter in loss.parameters())
    assert not any(buffer.requires_grad for buffer in loss.buffers())


def test_only_the_rows_of_the_batch_move_and_stay_of_unit_length():
    loss = build(momentum=0.8)
    before = state(loss)
    student, teacher = vectors(2, 5), vectors(2, 6)
    loss(student, teacher, samples(3, 8))
    own = dict(
        student_bank=loss.student_embedding(student), teacher_bank=loss.teacher_embedding(teacher)
    )
    for name, embedding in own.items():
        embedding = embedding / embedding.norm(dim=1, keepdim=True)
        moved = 0.8 * before[name][[3, 8]] + 0.2 * embedding
        expected = before[name].clone()
        expected[[3, 8]] = (moved / moved.norm(dim=1, keepdim=True)).detach()
        bank = getattr(loss, name)
        assert torch.allclose(bank, expected)
        assert torch.allclose(bank.norm(dim=1), torch.ones(12, dtype=torch.float64))


def test_last_of_a_sample_that_is_twice_in_the_batch_moves_its_row():
    twice, once = build(), build()
    student, teacher = vectors(3, 5), vectors(3, 6)
    twice(student, teacher, samples(4, 1, 4))
    once(student[1:], teacher[1:], samples(1, 4))
    assert torch.allclose(twice.student_bank, once.student_bank)
    assert torch.allclose(twice.teacher_bank, once.teacher_bank)


def test_normalizers_are_set_by_the_first_step_alone(drawn):
    loss = build()
    bank = loss.teacher_bank.clone()
    student = vectors(3, 5)
    loss(student, vectors(3, 6), samples(0, 4, 5))
    anchors = loss.student_embedding(student)
    anchors = anchors / anchors.norm(dim=1, keepdim=True)
    compared = bank[torch.cat([torch.tensor([[0], [4], [5]]), drawn[0]], dim=1)]
    mean = (compared @ anchors[:, :, None] / 0.07).exp().mean()
    assert loss.log_normalizers[0].exp().item() == pytest.approx(12 * mean.item())
    first = loss.log_normalizers.clone()
    step(loss, [1, 2, 3], seed=3)
    assert loss.log_normalizers.equal(first)


def test_negatives_are_never_of_the_class_of_the_sample():
    labels = torch.tensor([2, 0, 0, 1, 2, 0, -1, 0])
    own = torch.tensor([0, 1, 2, 0])
    torch.manual_seed(0)
    negatives = draw_negatives(labels, own, 3000)
    assert negatives.shape == (4, 3000)
    assert (labels[negatives] != own[:, None]).all()
    for label, row in zip(own.tolist(), negatives, strict=True):
        others = [i for i, other in enumerate(labels.tolist()) if other != label]
        shares = row.bincount(minlength=8)[others] / 3000
        # Five standard deviations around equal shares.
        share = 1 / len(others)
        assert ((shares - share).abs() < 5 * math.sqrt(share * (1 - share) / 3000)).all()


def test_labels_are_learnt_as_they_are_seen(drawn):
    loss = build(num_negatives=200)
    step(loss, [0, 3])
    assert loss.labels.tolist() == [0, -1, -1, 0] + [-1] * 8
    assert not drawn[0].unique().eq(torch.tensor([[0], [3]])).any()
    assert set(drawn[0].unique().tolist()) == set(range(12)) - {0, 3}
    step(loss, list(range(12)))
    assert loss.labels.tolist() == [i % 3 for i in range(12)]
    assert (drawn[1] % 3 != torch.arange(12)[:, None] % 3).all()


def test_training_set_of_one_class_is_refused_when_its_last_label_is_seen():
    loss, batch = build(), samples(*range(11), classes=1)
    assert loss(vectors(11, 5), vectors(11, 6), batch).isfinite()
    with pytest.raises(RuntimeError, match='all samples of the training set have the same'):
        loss(vectors(1, 5), vectors(1, 6), samples(11, classes=1))


def test_student_that_knows_the_sample_has_the_lower_loss():
    loss = build(tau=0.2)
    step(loss, list(range(12)))
    loss.eval()
    loss.student_embedding = loss.teacher_embedding = torch.nn.Identity()
    same, other = loss.teacher_bank[[0, 4, 8]], loss.teacher_bank[[3, 7, 11]]
    teacher, batch = loss.student_bank[[0, 4, 8]], samples(0, 4, 8)
    values = []
    for student in (same, other):
        torch.manual_seed(0)
        values.append(loss(student, teacher, batch))
    assert values[0] < values[1]


def test_loaded_state_goes_on_as_if_never_stopped():
    loss, fresh = build(), build()
    step(loss, [0, 4, 5])
    assert fresh.load_state_dict(copy.deepcopy(loss.state_dict())).missing_keys == []
    values = []
    for each in (loss, fresh):
        torch.manual_seed(1)
        values.append([step(each, indices, seed=i) for i, indices in enumerate([[1, 4], [0, 7]])])
    assert values[0] == values[1]
    for name, value in fresh.state_dict().items():
        assert value.equal(loss.state_dict()[name]), name


def test_evaluation_changes_nothing():
    loss = build()
    for prepared in (False, True):
        before = state(loss.eval())
        assert step(loss, [1, 4]).isfinite()
        for name, value in loss.state_dict().items():
            assert torch.equal(value.nan_to_num(-9), before[name].nan_to_num(-9)), name
        if not prepared:
            step(loss.train(), [0, 1])


def test_banks_start_equal_whatever_the_seed_of_the_process():
    banks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        loss = CRDLoss(**SIZE)
        banks.append(torch.stack([loss.student_bank, loss.teacher_bank]))
    assert banks[0].equal(banks[1])
    assert not banks[0][0].equal(banks[0][1])


@pytest.mark.parametrize('rows_for_one_read', [1e9, 0])
def test_no_step_reads_a_tensor(rows_for_one_read, monkeypatch):
    """Tensors without values can be computed with, but to read one, or its shape, is an error."""
    monkeypatch.setattr(mmkd.losses.crd, '_ROWS_FOR_ONE_READ', rows_for_one_read)
    batch = samples(0, 4, 5)
    with FakeTensorMode() as mode:
        loss = CRDLoss(**SIZE)
        loss.build(torch.empty(2, 5), torch.empty(2, 6))
        for sample in batch:
            sample.set_gt_label(mode.from_tensor(sample.gt_label))
        student = torch.randn(3, 5, requires_grad=True)
        loss(student, torch.randn(3, 6), batch).backward()
        assert student.grad.shape == (3, 5)


def test_batch_of_one(drawn):
    loss = build(tau=0.3)
    reference = Reference(loss)
    student, teacher = vectors(1, 5), vectors(1, 6)
    value = loss(student, teacher, samples(2))
    expected = reference.step(student, teacher, [2], drawn[0])
    assert value.item() == pytest.approx(expected)


def test_reading_the_compared_rows_equals_multiplying_all(monkeypatch):
    found = []
    for rows_for_one_read in (1e9, 0):
        monkeypatch.setattr(mmkd.losses.crd, '_ROWS_FOR_ONE_READ', rows_for_one_read)
        loss = build()
        student, teacher = vectors(3, 5).requires_grad_(), vectors(3, 6)
        torch.manual_seed(2)
        value = loss(student, teacher, samples(0, 4, 5))
        value.backward()
        gradients = [student.grad, *(p.grad for p in loss.parameters())]
        found.append([value.detach(), *gradients, *loss.buffers()])
    for multiplied, read in zip(*found, strict=True):
        assert torch.allclose(multiplied, read, rtol=1e-10)


def test_nothing_of_the_size_of_bank_or_negatives_is_kept_for_the_backward():
    loss, kept = build(num_data=100, num_negatives=90), []

    def keep(value):
        kept.append(value.untyped_storage().nbytes() // value.element_size())
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        step(loss, [0, 4, 5])
    assert kept
    assert max(kept) < 90


def test_half_precision_features_of_1e4_stay_finite(check_autocast):
    loss = build().float()
    check_autocast(loss, [vectors(3, 5)], [vectors(3, 6)], samples(0, 4, 5))
    assert loss.student_bank.dtype == torch.float32


def test_samples_without_index_or_label_are_refused():
    loss, sides = build(), (vectors(2, 5), vectors(2, 6))
    unknown = [DataSample().set_gt_label(0) for _ in range(2)]
    for batch in (None, unknown, [samples(0)[0], unknown[0]]):
        with pytest.raises(ValueError, match=r"no 'sample_idx'.*meta_keys of PackInputs"):
            loss(*sides, batch)
    for first, last in ((3, 12), (-1, 3)):
        with pytest.raises(ValueError, match=f'num_data=12, found.*from {first} to {last}'):
            loss(*sides, samples(first, last))
    unlabelled = DataSample(metainfo=dict(sample_idx=0))
    several = DataSample(metainfo=dict(sample_idx=0)).set_gt_label([0, 1])
    for sample in (unlabelled, several):
        with pytest.raises(ValueError, match='needs one gt_label for every sample'):
            loss(*sides, [samples(1)[0], sample])


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match=r'CRDLoss takes vectors.*\(2, 3, 4, 4\).*head.fc:input'):
        CRDLoss(**SIZE).build(vectors(2, 3, 4, 4), vectors(2, 6))
    pair = [vectors(2, 5), vectors(2, 5)]
    with pytest.raises(ValueError, match='one tap of the student and one of the teacher, found 2'):
        CRDLoss(**SIZE).build(pair, pair)
    for name in ('num_data', 'num_negatives', 'tau'):
        with pytest.raises(ValueError, match=f'{name} must be positive, found {name}=0'):
            CRDLoss(**{**SIZE, name: 0})
    with pytest.raises(ValueError, match='momentum=1'):
        CRDLoss(**SIZE, momentum=1)
