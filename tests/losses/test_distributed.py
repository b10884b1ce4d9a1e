"""Losses that carry state: several processes over gloo equal one with the joint batch."""

import pytest
import torch
from mmpretrain.structures import DataSample
from processes import run, train_loss

from mmkd.losses import CRDLoss, FactorTransferLoss, OFDLoss


def normal(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.fixture(params=[2, pytest.param(4, marks=pytest.mark.full)])
def train(tmp_path, request):
    """Train a loss in one process and in several; losses and state dicts of both runs.

    Every step is a joint batch: arguments of the loss, of which each process gets its share.
    """

    def train(loss, steps):
        torch.manual_seed(0)
        loss.build(steps[0]['student'], steps[0]['teacher'])
        inputs = (loss.double(), steps)
        losses, (state,) = run(train_loss, inputs, 1, tmp_path)
        return losses, state, *run(train_loss, inputs, request.param, tmp_path)

    return train


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-10, atol=1e-12, equal_nan=True), name


def test_crd_equals_one_process(train):
    """Banks, labels, Z and, after steps of an optimizer, the embeddings."""
    # Seen twice in a batch, by two processes and by one; seen again in a later step.
    indices = [[0, 3, 5, 3], [7, 7, 3, 1], [2, 4, 6, 0]]
    steps = [
        dict(
            student=normal(4, 5, seed=number),
            teacher=normal(4, 6, seed=10 + number),
            data_samples=[
                DataSample(metainfo=dict(sample_idx=i)).set_gt_label(i % 3) for i in batch
            ],
        )
        for number, batch in enumerate(indices)
    ]
    loss = CRDLoss(num_data=9, embed_dims=4, num_negatives=6)
    losses, state, their_losses, their_states = train(loss, steps)
    assert their_losses == pytest.approx(losses)
    for their_state in their_states:
        assert_equal(their_state, state)
    assert state['labels'].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, -1]
    assert state['log_normalizers'].isfinite().all()
    assert not torch.equal(state['student_embedding.weight'], loss.student_embedding.weight)


def test_ofd_margins_are_those_of_all_processes(train):
    steps = [
        dict(student=normal(4, 2, 3, 3, seed=i), teacher=normal(4, 3, 3, 3, seed=10 + i) - i)
        for i in range(2)
    ]
    losses, state, their_losses, their_states = train(OFDLoss(loss_weight=1e-3), steps)
    assert their_losses == pytest.approx(losses)
    for their_state in their_states:
        assert_equal(their_state, state)
    assert (state['margin_relus.0.margin'] < -0.5).all()


def test_factor_transfer_freezes_the_same_paraphraser_everywhere(train):
    steps = [dict(student=normal(4, 2, 3, 3, seed=0), teacher=normal(4, 4, 3, 3, seed=1))]
    _, state, _, their_states = train(FactorTransferLoss(), steps)
    assert_equal(*their_states[:2])
    weight = 'paraphrasers.0.encoder.0.conv.weight'
    assert their_states[0][weight].equal(state[weight])
    assert their_states[0]['pretrained']
