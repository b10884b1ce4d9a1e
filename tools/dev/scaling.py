"""Measure what docs/scaling.md shows, on the CPU: how time and memory of a step grow.

One thread a process. Times are of the CPU, not of the clock, so that what else runs counts little:
waiting for another process is not in them. Memory is that of tensors, the peak of a step above what
is held before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault('OMP_NUM_THREADS', '1')

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample

import mmkd.losses
from mmkd.benchmark.step import build, peak_memory
from mmkd.engine.config import read_config
from mmkd.publish import plain_model
from mmkd.registry import MODELS

PAIR = 'mmkd::kd/resnet56_resnet20_cifar100.py'
#: What several processes train: configs, and terms or networks in a word.
FAMILIES = {
    'KD, ResNet-56 to 20': PAIR,
    'CRD (K 16384)': 'mmkd::crd/resnet56_resnet20_cifar100.py',
    'DML, two ResNet-20': 'mmkd::dml/resnet20_resnet20_cifar100.py',
    'ECD, ResNet-20': 'mmkd::ecd/resnet20_cifar100.py',
}


def in_a_process(function: Callable, *args) -> tuple:
    """What a function of this file returns in a process of its own."""
    with multiprocessing.get_context('fork').Pool(1) as pool:
        return pool.apply(function, args)


def measured(step: Callable[[], None], seconds: float = 1.0) -> tuple[float, float]:
    """CPU milliseconds, the median, and peak MiB of a step."""
    step()
    times, start = [], time.process_time()
    while not times or time.process_time() - start < seconds:
        before = time.process_time()
        step()
        times.append(time.process_time() - before)
    return 1e3 * sorted(times)[len(times) // 2], peak_memory(step)


def of_loss(kind: str, images: int, shapes: list, config: dict) -> tuple[float, float, float]:
    """A loss and its backward: CPU milliseconds, peak MiB, MiB of its state."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    student = [torch.randn(images, *shape, requires_grad=True) for shape in shapes]
    teacher = [torch.randn(images, *shape) for shape in shapes]
    loss = getattr(mmkd.losses, kind)(**config)
    loss.build([s[:2].detach() for s in student], [t[:2] for t in teacher])
    numbers = torch.randperm(config.get('num_data', images))[:images].tolist()
    samples = [DataSample(metainfo=dict(sample_idx=i)).set_gt_label(i % 100) for i in numbers]

    def step() -> None:
        loss(student, teacher, samples).backward()

    state = sum(x.numel() * x.element_size() for x in loss.state_dict().values())
    return *measured(step), state / 2**20


def losses() -> None:
    rows = []
    for kind, shape, config in (
        ('KLDivergenceLoss', (100,), {}),
        ('SimilarityPreservingLoss', (64, 8, 8), {}),
        ('PKTLoss', (256,), {}),
        ('CorrelationCongruenceLoss', (256,), {}),
        ('RKDLoss', (256,), {}),
    ):
        # RKD's work grows with the cube.
        largest = 512 if kind == 'RKDLoss' else 1024
        rows += [(kind, n, f'N {n}', [shape], config) for n in (64, 256, largest)]
    for data in (50_000, 200_000, 1_281_167):
        config = dict(num_data=data, num_negatives=16384)
        rows.append(('CRDLoss', 64, f'N 64, M {data}, K 16384', [(256,)], config))
    for images, negatives in ((64, 4096), (256, 4096), (256, 16384)):
        config = dict(num_data=50_000, num_negatives=negatives)
        name = f'N {images}, M 50000, K {negatives}'
        rows.append(('CRDLoss', images, name, [(256,)], config))
    levels = [(256, 8, 8), (128, 16, 16), (64, 32, 32)]
    for kind in ('HintLoss', 'ReviewKDLoss'):
        for number in (1, 2, 3):
            # From deep to shallow; ReviewKD takes them the other way round.
            shapes = levels[:number][::-1]
            rows.append((kind, 64, f'N 64, {number} levels', shapes, {}))
    print('| loss | of | CPU ms | peak MiB | state MiB |\n| --- | --- | --- | --- | --- |')
    for kind, images, name, shapes, config in rows:
        found = in_a_process(of_loss, kind, images, shapes, config)
        print(f'| {kind} | {name} | ' + ' | '.join(f'{x:,.1f}' for x in found) + ' |', flush=True)


def distiller(config: str, teachers: int | None = None) -> torch.nn.Module:
    """The distiller of a config with random weights, or with that many teachers like its own."""
    cfg = read_config(config, 'CONFIG')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        if teachers == 0:
            return MODELS.build(plain_model(cfg)).train()
        if teachers is not None:
            one, (term,) = cfg.model.pop('teacher'), cfg.model.losses.values()
            names = [f't{index}' for index in range(teachers)]
            cfg.model.teachers = dict.fromkeys(names, one)
            cfg.model.losses = {
                name: dict(term, teacher=f'{name}:{term["teacher"]}') for name in names
            }
        return build(cfg)


def step_of(model: torch.nn.Module, wrapped: torch.nn.Module, images: int) -> Callable[[], None]:
    """Forward and backward of images of CIFAR's size, as MMEngine's wrapper calls them."""
    torch.manual_seed(0)
    inputs = list(torch.randint(256, (images, 3, 32, 32), dtype=torch.uint8))
    samples = [DataSample(metainfo=dict(sample_idx=i)).set_gt_label(i % 100) for i in range(images)]

    def step() -> None:
        data = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), True)
        model.parse_losses(wrapped(**data, mode='loss'))[0].backward()

    return step


def of_teachers(teachers: int, images: int) -> tuple[float, float]:
    torch.set_num_threads(1)
    model = distiller(PAIR, teachers)
    return measured(step_of(model, model, images))


def teachers() -> None:
    print('| teachers | images | CPU ms | peak MiB |\n| --- | --- | --- | --- |')
    for number, images in (
        (0, 64),
        (1, 64),
        (2, 64),
        (3, 64),
        (0, 256),
        (1, 256),
        (0, 512),
        (1, 512),
    ):
        found = in_a_process(of_teachers, number, images)
        print(
            f'| {number} | {images} | ' + ' | '.join(f'{x:,.0f}' for x in found) + ' |', flush=True
        )


def of_processes(config: str, rank: int, size: int, folder: str, steps: int) -> float:
    """CPU milliseconds of a step of 64 images in one of several processes; 0 for no group."""
    torch.set_num_threads(1)
    model = wrapped = distiller(config)
    if size:
        dist.init_process_group(
            'gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=size
        )
        wrapped = MMDistributedDataParallel(model, broadcast_buffers=False)
    step, times = step_of(model, wrapped, 64), []
    for _ in range(steps):
        before = time.process_time()
        step()
        times.append(time.process_time() - before)
    if size:
        dist.barrier()
    return 1e3 * sorted(times[1:])[len(times) // 2]


def processes(steps: int = 16) -> None:
    print('| trained | parameters | alone | 1 process | 2 processes | efficiency |')
    print('| --- | --- | --- | --- | --- | --- |')
    for name, config in FAMILIES.items():
        numbers = [p.numel() for p in distiller(config).parameters() if p.requires_grad]
        found = []
        for size in (0, 1, 2):
            count = max(size, 1)
            fork = multiprocessing.get_context('fork')
            with tempfile.TemporaryDirectory() as folder, fork.Pool(count) as pool:
                arguments = [(config, rank, size, folder, steps) for rank in range(count)]
                found.append(max(pool.starmap(of_processes, arguments, chunksize=1)))
        cells = ' | '.join(f'{x:,.0f}' for x in found)
        print(f'| {name} | {sum(numbers):,} | {cells} | {found[0] / found[2]:.2f} |', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=['losses', 'teachers', 'processes'])
    getattr(sys.modules[__name__], parser.parse_args().what)()


if __name__ == '__main__':
    main()
