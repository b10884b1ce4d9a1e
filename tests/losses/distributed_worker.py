"""Steps of a loss in a process group; run by test_distributed.py through torchrun."""

import os
import sys

import torch
import torch.distributed as dist
from torch import nn

import mmkd.losses.crd
from mmkd.losses import FactorTransferLoss


def enumerate_negatives(labels, own, num_negatives):
    """The other classes in turn: what is drawn at random differs between processes."""
    others = [(labels != label).nonzero().flatten() for label in own]
    return torch.stack([rows[torch.arange(num_negatives) % len(rows)] for rows in others])


def share_of(batch):
    """This process's share of a joint batch."""
    size = len(batch) // dist.get_world_size()
    return batch[dist.get_rank() * size :][:size]


def main(inputs, outputs):
    mmkd.losses.crd.draw_negatives = enumerate_negatives
    loss, steps = torch.load(inputs, weights_only=False)
    dist.init_process_group('gloo')
    size = dist.get_world_size()
    torch.manual_seed(dist.get_rank())
    # As MMEngine wraps a model.
    wrapped = nn.parallel.DistributedDataParallel(loss, broadcast_buffers=False)
    if isinstance(loss, FactorTransferLoss):
        with loss.pretraining():
            loss.pretrain_loss(share_of(steps[0]['teacher']))
    for module in loss.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # batch statistics are each process's own
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    values = []
    for step in steps:
        value = wrapped(**{side: share_of(batch) for side, batch in step.items()})
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        value = value.detach() / size
        dist.all_reduce(value)
        values.append(value.item())
    states = [None] * size
    dist.all_gather_object(states, loss.state_dict())
    if dist.get_rank() == 0:
        torch.save((values, states), outputs)
    dist.barrier()
    # gloo's threads and the interpreter's end do not always get along.
    os._exit(0)


if __name__ == '__main__':
    main(*sys.argv[1:])
