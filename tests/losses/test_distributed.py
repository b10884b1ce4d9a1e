"""Losses that carry state: two processes over gloo equal one with the joint batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmpretrain.structures import DataSample

from mmkd.losses import CRDLoss, FactorTransferLoss, OFDLoss

WORKER = Path(__file__).with_name('distributed_worker.py')


def normal(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.fixture
def train(tmp_path, free_port):
    """Train a loss in one process and in two; losses and state dicts of both runs.

    Every step is a joint batch: arguments of the loss, of which each process gets its share.
    """

    def train(loss, steps):
        torch.manual_seed(0)
        loss.build(steps[0]['student'], steps[0]['teacher'])
        torch.save((loss.double(), steps), tmp_path / 'inputs.pth')
        results = []
        for processes in (1, 2):
            out = tmp_path / f'{processes}.pth'
            command = [sys.executable, '-m', 'torch.distributed.run', '--master_addr=127.0.0.1']
            command += [f'--master_port={free_port}', f'--nproc_per_node={processes}']
            command += [WORKER, tmp_path / 'inputs.pth', out]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr[-3000:]
            results.append(torch.load(out))
        (losses, (state,)), (two_losses, two_states) = results
        return losses, state, two_losses, two_states

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
    losses, state, two_losses, two_states = train(loss, steps)
    assert two_losses == pytest.approx(losses)
    for two_state in two_states:
        assert_equal(two_state, state)
    assert state['labels'].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, -1]
    assert state['log_normalizers'].isfinite().all()
    assert not torch.equal(state['student_embedding.weight'], loss.student_embedding.weight)


def test_ofd_margins_are_those_of_all_processes(train):
    steps = [
        dict(student=normal(4, 2, 3, 3, seed=i), teacher=normal(4, 3, 3, 3, seed=10 + i) - i)
        for i in range(2)
    ]
    losses, state, two_losses, two_states = train(OFDLoss(loss_weight=1e-3), steps)
    assert two_losses == pytest.approx(losses)
    for two_state in two_states:
        assert_equal(two_state, state)
    assert (state['margin_relus.0.margin'] < -0.5).all()


def test_factor_transfer_freezes_the_same_paraphraser_everywhere(train):
    steps = [dict(student=normal(4, 2, 3, 3, seed=0), teacher=normal(4, 4, 3, 3, seed=1))]
    _, state, _, two_states = train(FactorTransferLoss(), steps)
    assert_equal(*two_states)
    weight = 'paraphrasers.0.encoder.0.conv.weight'
    assert two_states[0][weight].equal(state[weight])
    assert two_states[0]['pretrained']
