"""One step of a distiller in a process group; run by test_distributed.py through torchrun."""

import os
import sys

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from torch import nn

from mmkd.distillers import DetectionDistiller


def main(inputs, outputs):
    student, teacher, losses, batch = torch.load(inputs, weights_only=False)
    dist.init_process_group('gloo')
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    # The terms alone: mmdet normalises the detector's own losses by each process's samples.
    model = DetectionDistiller(
        student=student, teacher=teacher, losses=losses, student_loss_weight=0.0
    ).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Frozen, as in the paper's student: batch statistics are each process's own.
            module.eval()
    share = {key: value[rank::size] for key, value in batch.items()}
    wrapped = MMDistributedDataParallel(model)
    losses = wrapped(**model.data_preprocessor(share, True), mode='loss')
    losses = {
        k: sum(v) if isinstance(v, (list, tuple)) else v for k, v in losses.items() if 'loss' in k
    }
    sum(losses.values()).backward()
    losses = {key: value.detach() / size for key, value in losses.items()}
    for value in losses.values():
        dist.all_reduce(value)
    if rank == 0:
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        torch.save((losses, grads), outputs)
    dist.barrier()
    # gloo's threads and the interpreter's end do not always get along.
    os._exit(0)


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    main(*sys.argv[1:])
