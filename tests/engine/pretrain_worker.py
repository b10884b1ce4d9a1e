"""A pre-training phase in a process group; run by test_pretrain.py through torchrun."""

import os
import sys
from types import SimpleNamespace

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from torch.utils.data import DataLoader

from mmkd.distillers import OfflineDistiller
from mmkd.engine import PretrainHook


def main(inputs, folder):
    student, teacher, taps, batch = torch.load(inputs, weights_only=False)
    dist.init_process_group('gloo')
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    losses = dict(a=dict(type='HintLoss', **taps))
    model = OfflineDistiller(student=student, teacher=teacher, losses=losses)
    share = {key: value[rank::size] for key, value in batch.items()}
    runner = SimpleNamespace(
        iter=0,
        model=MMDistributedDataParallel(model),
        cfg=Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)))),
        train_dataloader=DataLoader([share], batch_size=None),
        logger=MMLogger('pretrain'),
    )
    PretrainHook(['a'], length=2).before_train(runner)
    torch.save(dict(model.named_parameters()), f'{folder}/{rank}.pth')
    dist.barrier()
    # gloo's threads and the interpreter's end do not always get along.
    os._exit(0)


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    main(*sys.argv[1:])
