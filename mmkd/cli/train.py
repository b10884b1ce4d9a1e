"""Train a distiller, or a plain mmdet or mmpretrain model, from a config."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmkd.cli.check import check_training_config
from mmkd.cli.launch import (
    add_common_arguments,
    is_first_process,
    leave_distributed,
    load_config,
    prepare_distributed,
)
from mmkd.engine import CheckpointHook
from mmkd.engine.lock import sole_training
from mmkd.engine.memory import keep_freed_memory
from mmkd.engine.resume import prepare_resume
from mmkd.publish import distiller


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every tool that trains."""
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the batch size over auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from this checkpoint; without a value from the latest in the work dir',
    )
    add_common_arguments(parser)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    add_training_arguments(parser)
    return parser.parse_args(argv)


def use_mixed_precision(optim_wrapper: dict) -> None:
    """Write what ``--amp`` means on this machine into the config of an optimizer's wrapper.

    Raises:
        SystemExit: If it is not in bfloat16 without a GPU.
    """
    if torch.cuda.is_available():
        optim_wrapper.type = 'AmpOptimWrapper'
        optim_wrapper.setdefault('loss_scale', 'dynamic')
        return
    dtype = optim_wrapper.pop('dtype', 'bfloat16')
    if dtype != 'bfloat16':
        raise SystemExit(
            f'--amp trains in bfloat16 without a GPU, and optim_wrapper.dtype={dtype!r}; set it to '
            'bfloat16, or train without --amp'
        )
    optim_wrapper.pop('loss_scale', None)
    optim_wrapper.type = 'mmkd.BFloat16OptimWrapper'


def apply_training_options(cfg: Config, args: argparse.Namespace) -> None:
    """Write ``--amp``, ``--auto-scale-lr`` and ``--resume`` into the config."""
    if args.amp:
        use_mixed_precision(cfg.optim_wrapper)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise SystemExit(
                f'--auto-scale-lr: set auto_scale_lr=dict(base_batch_size=...) in {args.config}'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        cfg.resume = True
        if args.resume != 'auto':
            cfg.load_from = args.resume


def add_hooks(cfg: Config) -> None:
    """Add the hooks of mmkd's default runtime that check a distiller, and what compiling needs."""
    hooks = cfg.setdefault('default_hooks', {})
    if cfg.get('compile') not in (None, False):
        hooks.setdefault('uncompiled_optimizer', dict(type='mmkd.UncompiledOptimizerHook'))
    if distiller(cfg) is not None:
        hooks.setdefault('check_data', dict(type='mmkd.CheckDataHook'))
        hooks.setdefault('check_finite', dict(type='mmkd.CheckFiniteHook'))


def _warn_of_other_hooks(runner: Runner) -> None:
    for hook in runner.hooks:
        if isinstance(hook, MMEngineCheckpointHook) and not isinstance(hook, CheckpointHook):
            runner.logger.warning(
                f'{type(hook).__name__} is not the CheckpointHook that mmkd makes crash-safe: a '
                "crash while it saves can lose all progress; type='CheckpointHook' in "
                'default_hooks.checkpoint cannot'
            )


@contextmanager
def _work_dir_held(cfg: Config) -> Iterator[None]:
    """Hold the work directory for all processes of a run, or refuse all of them."""
    with ExitStack() as stack:
        refused = [None]
        if is_first_process(cfg.launcher):
            try:
                stack.enter_context(sole_training(cfg.work_dir))
            except BlockingIOError as error:
                refused = [str(error)]
        broadcast_object_list(refused)
        if refused[0] is not None:
            raise BlockingIOError(refused[0])
        yield


def train(args: argparse.Namespace) -> None:
    """Train ``args.config`` as the other arguments say."""
    cfg = load_config(args)
    check_training_config(cfg, args.config)
    apply_training_options(cfg, args)
    add_hooks(cfg)
    prepare_distributed(cfg)
    keep_freed_memory()
    with _work_dir_held(cfg):
        said = prepare_resume(cfg, latest=args.resume == 'auto')
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        for sentence in said:
            runner.logger.warning(sentence)
        _warn_of_other_hooks(runner)
        runner.train()


def main(argv: Sequence[str] | None = None) -> None:
    train(parse_args(argv))
    leave_distributed()
