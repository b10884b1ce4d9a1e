"""One step of distillers in a process group; run by test_multi_exit.py through torchrun."""

import os
import sys

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from torch.nn.modules.batchnorm import _BatchNorm

import mmkd  # noqa: F401
from mmkd.registry import MODELS


def step(cfg, batch, wrap=lambda model: model):
    """Losses and gradients of one batch."""
    torch.manual_seed(0)
    model = MODELS.build(cfg).train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            # Batch statistics are each process's own.
            module.eval()
    # Named, for the wrapper averages gradients only as long as it lives.
    wrapped = wrap(model)
    losses = wrapped(**model.data_preprocessor(batch, True), mode='loss')
    sum(losses.values()).backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    return {key: value.detach() for key, value in losses.items()}, grads


def main(inputs, outputs):
    dist.init_process_group('gloo')
    rank, size = dist.get_rank(), dist.get_world_size()
    cfgs, batch = torch.load(inputs, weights_only=False)
    share = {key: value[rank::size] for key, value in batch.items()}
    results = []
    for cfg in cfgs:
        losses, grads = step(cfg, share, MMDistributedDataParallel)
        for value in losses.values():
            value /= size
            dist.all_reduce(value)
        results.append((losses, grads))
    if rank == 0:
        torch.save(results, outputs)
    dist.barrier()
    # gloo's threads and the interpreter's end do not always get along.
    os._exit(0)


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    main(*sys.argv[1:])
