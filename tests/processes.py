"""Steps in a process group of forked processes, which import this by name."""

import multiprocessing
import os
from contextlib import ExitStack
from functools import partial
from types import SimpleNamespace

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel, MMFullyShardedDataParallel
from torch import nn
from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

import mmkd.losses.crd
from mmkd.engine import PretrainHook
from mmkd.losses import FactorTransferLoss
from mmkd.registry import MODELS

#: What takes longer to import than most tests take, for the server that forks their processes.
PRELOADED = ['mmkd', 'mmdet.apis', 'mmpretrain.apis', 'mmkd.cli.train']


def run(steps, inputs, size, folder):
    """Call a function in ``size`` processes over gloo; return what the first one's gives.

    Args:
        steps (Callable): A function of this file, of ``inputs``.
        inputs (Any): What torch can save.
        size (int): Number of processes.
        folder (Path): Where files may be left.
    """
    torch.save(inputs, folder / 'inputs.pth')
    (folder / 'meeting_point').unlink(missing_ok=True)
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(PRELOADED)
    processes = [
        context.Process(target=_run, args=(steps, rank, size, folder)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0] * size
    return torch.load(folder / 'outputs.pth')


def _run(steps, rank, size, folder):
    torch.set_num_threads(1)
    address = f'file://{folder / "meeting_point"}'
    dist.init_process_group('gloo', init_method=address, rank=rank, world_size=size)
    outputs = steps(torch.load(folder / 'inputs.pth', weights_only=False))
    if rank == 0:
        torch.save(outputs, folder / 'outputs.pth')
    dist.barrier()
    # gloo's threads and the interpreter's end do not always get along.
    os._exit(0)


def step(cfg, batch, wrapper=None):
    """Losses and gradients of a distiller for one batch, as MMEngine's wrappers take it.

    Args:
        cfg (dict): Config of a distiller.
        batch (dict): What a data loader gives.
        wrapper (str, optional): ``'ddp'``, ``'fsdp'``, ``'fsdp units'`` or, by default, none.
    """
    torch.manual_seed(0)
    model = MODELS.build(cfg).train()
    _eval_batch_norms(model)
    # Named, for the wrapper averages gradients only as long as it lives.
    wrapped = model
    if wrapper == 'ddp':
        wrapped = MMDistributedDataParallel(model)
    elif wrapper == 'fsdp':
        wrapped = MMFullyShardedDataParallel(model, device_id='cpu')
    elif wrapper == 'fsdp units':
        policy = partial(size_based_auto_wrap_policy, min_num_params=500)
        wrapped = MMFullyShardedDataParallel(model, device_id='cpu', auto_wrap_policy=policy)
    losses = wrapped(**model.data_preprocessor(batch, True), mode='loss')
    losses = {
        name: sum(value) if isinstance(value, (list, tuple)) else value
        for name, value in losses.items()
        if 'loss' in name
    }
    sum(losses.values()).backward()
    with ExitStack() as stack:
        if 'fsdp' in (wrapper or ''):
            stack.enter_context(wrapped.summon_full_params(wrapped, with_grads=True))
        grads = {
            name.replace('_fsdp_wrapped_module.', ''): parameter.grad.clone()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }
    return {name: value.detach() for name, value in losses.items()}, grads


def shared_steps(cases):
    """Joint losses and gradients of every case, each process with its share of the batch."""
    rank, size = dist.get_rank(), dist.get_world_size()
    results = []
    for cfg, batch, wrapper in cases:
        share = {key: value[rank::size] for key, value in batch.items()}
        losses, grads = step(cfg, share, wrapper)
        for value in losses.values():
            value /= size
            dist.all_reduce(value)
        results.append((losses, grads))
    return results


def train_loss(inputs):
    """Train a loss by shares of joint batches; joint values, and the state dicts of all."""
    mmkd.losses.crd.draw_negatives = _enumerate_negatives
    loss, steps = inputs
    size = dist.get_world_size()
    torch.manual_seed(dist.get_rank())
    # As MMEngine wraps a model.
    wrapped = nn.parallel.DistributedDataParallel(loss, broadcast_buffers=False)
    if isinstance(loss, FactorTransferLoss):
        with loss.pretraining():
            loss.pretrain_loss(_share_of(steps[0]['teacher']))
    _eval_batch_norms(loss)
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    values = []
    for batch in steps:
        value = wrapped(**{side: _share_of(joint) for side, joint in batch.items()})
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        value = value.detach() / size
        dist.all_reduce(value)
        values.append(value.item())
    states = [None] * size
    dist.all_gather_object(states, loss.state_dict())
    return values, states


def _eval_batch_norms(model):
    """Batch statistics are each process's own."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def pretrain(inputs):
    """Pre-train a term of a distiller by shares of a joint batch; the weights of all processes."""
    cfg, term, batch = inputs
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    share = {key: value[rank::size] for key, value in batch.items()}
    runner = SimpleNamespace(
        iter=0,
        model=MMDistributedDataParallel(model),
        cfg=Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)))),
        train_dataloader=DataLoader([share], batch_size=None),
        logger=MMLogger('pretrain'),
    )
    PretrainHook([term], length=2).before_train(runner)
    weights = [None] * size
    dist.all_gather_object(weights, dict(model.named_parameters()))
    return weights


def _share_of(batch):
    size = len(batch) // dist.get_world_size()
    return batch[dist.get_rank() * size :][:size]


def _enumerate_negatives(labels, own, num_negatives):
    """The other classes in turn: what is drawn at random differs between processes."""
    others = [(labels != label).nonzero().flatten() for label in own]
    return torch.stack([rows[torch.arange(num_negatives) % len(rows)] for rows in others])
