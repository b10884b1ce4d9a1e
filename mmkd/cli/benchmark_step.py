"""Time the steps of distillers against those of their networks on their own.

R is the distillation step over the sum of the students' own steps and the teachers' forwards, with
its 95 % confidence interval; all are timed in turns. Images, labels and the weights of teachers are
random: neither data nor checkpoints are needed. MMEngine's `compile` and the gradient accumulation
of a config are left out. On a CPU, OMP_NUM_THREADS sets the threads.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from mmkd.benchmark.environment import environment
from mmkd.benchmark.statistics import MIN_ROUNDS
from mmkd.benchmark.step import STEP, batch, build, measure, parts
from mmkd.benchmark.step_page import milliseconds, ratio, write
from mmkd.cli.check import check_training_config
from mmkd.cli.flops import add_shape_arguments, default_size
from mmkd.cli.train import use_mixed_precision
from mmkd.engine.config import read_config
from mmkd.engine.memory import keep_freed_memory
from mmkd.publish import distiller


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config of a distiller')
    parser.add_argument('--batch', type=int, help='images in a batch; by default as in training')
    parser.add_argument(
        '--rounds', type=int, default=20, help=f'how often each part is timed; {MIN_ROUNDS} or more'
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--out', type=Path, help='folder of speed.json and speed.md, to which rows are added'
    )
    add_shape_arguments(parser)
    args = parser.parse_args(argv)
    if args.rounds < MIN_ROUNDS:
        parser.error(
            f'--rounds {args.rounds}: give {MIN_ROUNDS} or more, for an interval of confidence'
        )
    if args.batch is not None and args.batch < 1:
        parser.error(f'--batch {args.batch}: give 1 or more')
    return args


def arguments(args: argparse.Namespace) -> list[str]:
    """The command line again, without the configs and where results go."""
    found = []
    for name in ('shape', 'batch', 'rounds'):
        value = getattr(args, name)
        if value is not None:
            found += [f'--{name}', *map(str, value if isinstance(value, tuple) else [value])]
    if args.amp:
        found.append('--amp')
    if args.cfg_options:
        found += ['--cfg-options', *(f'{k}={v}' for k, v in args.cfg_options.items())]
    return found


def measure_config(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Build and time the distiller of one config.

    Raises:
        ValueError: If it trains a plain model, or a student without losses of its own.
    """
    cfg = read_config(name, 'CONFIG')
    cfg.merge_from_dict(args.cfg_options)
    check_training_config(cfg, name)
    if distiller(cfg) is None:
        raise ValueError(
            f'{name} trains a plain model, found model.type={cfg.model.type!r}, so there is no '
            'distillation to time; give the config of a distiller'
        )
    if args.amp:
        use_mixed_precision(cfg.optim_wrapper)
    torch.backends.cudnn.benchmark = cfg.get('env_cfg', {}).get('cudnn_benchmark', False)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        model = build(cfg)
        first = next(iter(model.trained_networks().values()))
        shape = args.shape or default_size(cfg, getattr(first, 'model', first))
        count = args.batch or cfg.train_dataloader.batch_size
        found = measure(parts(model, cfg.optim_wrapper, batch(model, count, shape)), args.rounds)
    return dict(
        config=name,
        options={key: str(value) for key, value in args.cfg_options.items()},
        amp=args.amp,
        batch=count,
        shape=list(shape),
        arguments=arguments(args),
        date=str(date.today()),
        environment=environment(f'threads: {torch.get_num_threads()}'),
        **found,
    )


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    # Deep in a network of random weights numbers may be so small that a CPU is slow with them.
    torch.set_flush_denormal(True)
    keep_freed_memory()  # as `mmkd train` does
    # Optimizers tell the rate of every parameter.
    MMLogger.get_current_instance().setLevel('ERROR')
    files = []
    for name in args.configs:
        row = measure_config(name, args)
        times = ', '.join(f'{part} {milliseconds(row, part)}' for part in row['seconds'])
        print(f'{name}: R {ratio(row)}; ms: {times}; MiB: {row["memory"][STEP]:.0f}', flush=True)
        if args.out is not None:
            files = write(row, args.out)
    print('\n'.join(map(str, files)), end='\n' if files else '')
