"""Evaluate any checkpoint of a distiller, or a published one. Needs no teacher.

A checkpoint that holds exits or several networks, generated teachers included, is evaluated with
all of them.
"""

from __future__ import annotations

import argparse
import os.path as osp
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmkd.cli.launch import (
    add_common_arguments,
    leave_distributed,
    load_config,
    prepare_distributed,
)
from mmkd.plain import leave_out_strategy
from mmkd.publish import (
    distiller,
    has_exits,
    is_training,
    load_plain,
    plain_config,
    read_checkpoint,
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', help='write all predictions to this .pkl file')
    parser.add_argument('--show-dir', help='draw predictions into this folder of the work dir')
    add_common_arguments(parser)
    return parser.parse_args(argv)


def apply_test_options(cfg: Config, args: argparse.Namespace) -> None:
    """Write ``--out`` and ``--show-dir`` into the config."""
    if args.out is not None:
        if not args.out.endswith(('.pkl', '.pickle')):
            raise SystemExit(f'--out must end in .pkl or .pickle, found {args.out}')
        metrics = cfg.test_evaluator
        metrics = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
        cfg.test_evaluator = [*metrics, dict(type='DumpResults', out_file_path=args.out)]
    if args.show_dir is not None:
        hook = cfg.default_hooks.get('visualization')
        if hook is None:
            raise SystemExit('--show-dir: the config has no default_hooks.visualization')
        if hook.type.endswith('DetVisualizationHook'):
            hook.update(draw=True, test_out_dir=args.show_dir)
        else:
            hook.update(enable=True, out_dir=osp.join(cfg.work_dir, args.show_dir))


def test(args: argparse.Namespace) -> None:
    """Evaluate ``args.checkpoint`` as the other arguments say."""
    cfg = load_config(args)
    state_dict, _ = read_checkpoint(args.checkpoint, 'CHECKPOINT')
    keep_exits = has_exits(cfg, state_dict)
    if not keep_exits and cfg.model.get('student', {}).get('threshold') is not None:
        raise SystemExit(
            f'model.student.threshold: {args.checkpoint} holds no exits; give a checkpoint of '
            'training, or one of tools/export_student.py --keep-exits'
        )
    whole = distiller(cfg).evaluated(cfg.model) if is_training(cfg, state_dict) else None
    if whole is not None:
        # Terms, and the frozen teachers that they need, are of training alone.
        cfg.model = whole
        state_dict = {k: v for k, v in state_dict.items() if not k.startswith('losses.')}
    else:
        cfg = plain_config(cfg, keep_exits=keep_exits)
    leave_out_strategy(cfg)
    apply_test_options(cfg, args)
    prepare_distributed(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    load_plain(runner.model, state_dict, f'CHECKPOINT {args.checkpoint}')
    runner.test()


def main(argv: Sequence[str] | None = None) -> None:
    test(parse_args(argv))
    leave_distributed()
