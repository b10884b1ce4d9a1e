"""One step of peers in a process group; run by test_mutual.py through torchrun."""

import os
import sys

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel

from mmkd.distillers import MutualDistiller


def main(inputs, outputs):
    networks, objective, batch = torch.load(inputs, weights_only=False)
    dist.init_process_group('gloo')
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    # Batch statistics are each process's own.
    model = MutualDistiller(networks=networks, objective=objective).eval()
    share = {key: value[rank::size] for key, value in batch.items()}
    wrapped = MMDistributedDataParallel(model)
    losses = wrapped(**model.data_preprocessor(share, True), mode='loss')
    sum(losses.values()).backward()
    for value in losses.values():
        dist.all_reduce(value.data)
    if rank == 0:
        grads = {name: p.grad for name, p in model.named_parameters()}
        torch.save(({key: v.item() / size for key, v in losses.items()}, grads), outputs)
    dist.barrier()
    # gloo's threads and the interpreter's end do not always get along.
    os._exit(0)


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    main(*sys.argv[1:])
