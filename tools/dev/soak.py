"""Train for many steps and look whether anything grows: memory, open files, hooks.

Trains the demo's small network on digits with KD, then with CRD, and prints every so often what the
process holds. Ends with exit code 1 if in the second half of a run open files, hooks or wrapped
forwards are more than at its middle, or memory has grown by more than --mib. Memory is what is left
when the C library has given back what it keeps for later: without that, MMEngine's log history, an
array that is copied at each step, looks like a leak of 1.2 KiB a step.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault('OMP_NUM_THREADS', '1')

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmkd.cli import train
from mmkd.publish import plain_model
from mmkd.registry import HOOKS, MODELS

DEMO = Path(__file__).resolve().parents[2] / 'configs/demo'
TERMS = {
    'kd': "dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=4.0)",
    'crd': "dict(type='CRDLoss', student='head.fc:input', teacher='head.fc:input', num_data=1195)",
}
_CONFIG = """
_base_ = {demo!r}
model = dict(teacher=dict(checkpoint={teacher!r}), losses=dict(_delete_=True, term={term}))
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters={steps}, val_interval={steps})
train_dataloader = dict(sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True))
param_scheduler = dict(_delete_=True, type='ConstantLR', factor=1, by_epoch=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval={every}), logger=dict(interval=1000))
custom_hooks = [dict(type='mmkd.SoakHook', every={every})]
"""


@HOOKS.register_module()
class SoakHook(Hook):
    """Print what the process holds, every so many steps."""

    #: Steps, MiB, open files, hooks, wrapped forwards of the run at hand.
    seen: list[tuple[int, float, int, int, int]] = []

    def __init__(self, every: int) -> None:
        self.every = every

    def before_train(self, runner: Runner) -> None:
        self.seen.clear()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if not self.every_n_train_iters(runner, self.every):
            return
        model = runner.model
        modules = [*model.modules(), *model.teachers[''].model.modules()]
        hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)
        wrapped = sum('forward' in vars(m) for m in modules)
        row = (runner.iter + 1, _mib(), len(os.listdir('/proc/self/fd')), hooks, wrapped)
        self.seen.append(row)
        print(('{:>8} {:>8.1f} {:>6} {:>6} {:>8}').format(*row), file=sys.__stderr__, flush=True)


def _mib() -> float:
    gc.collect()
    # glibc's alone; other C libraries give back by themselves.
    if trim := getattr(ctypes.CDLL(None), 'malloc_trim', None):
        trim(0)
    status = Path('/proc/self/status').read_text()
    return int(status.partition('VmRSS:')[2].split()[0]) / 1024


def growth(rows: list[tuple[int, float, int, int, int]], mib: float) -> list[str]:
    """What is more at the end than in the middle; of memory, by more than ``mib``."""
    middle, end = rows[len(rows) // 2 - 1], rows[-1]
    found = [
        f'{name} {before} -> {after}'
        for name, before, after in zip(
            ('open files', 'hooks', 'wrapped forwards'), middle[2:], end[2:], strict=True
        )
        if after > before
    ]
    if end[1] - middle[1] > mib:
        found.append(f'MiB {middle[1]:.1f} -> {end[1]:.1f}')
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--steps', type=int, default=10000, help='default: %(default)s')
    parser.add_argument('--terms', nargs='+', choices=TERMS, default=list(TERMS))
    parser.add_argument('--mib', type=float, default=10, help='default: %(default)s')
    args = parser.parse_args(argv)
    if args.steps < 20:
        parser.error(f'--steps must be 20 or more, found {args.steps}')
    failed = []
    with tempfile.TemporaryDirectory(prefix='soak_') as folder:
        teacher = Path(folder, 'teacher.pth')
        cfg = Config.fromfile(DEMO / 'digits_teacher.py')
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            torch.manual_seed(1)
            torch.save(MODELS.build(plain_model(cfg)).state_dict(), teacher)
        for name in args.terms:
            config = Path(folder, f'{name}.py')
            config.write_text(
                _CONFIG.format(
                    demo=str(DEMO / 'digits_kd.py'),
                    teacher=str(teacher),
                    term=TERMS[name],
                    steps=args.steps,
                    every=args.steps // 10,
                )
            )
            print(f'{name}\n   steps      MiB  files  hooks  wrapped', file=sys.__stderr__)
            train.main([str(config), '--work-dir', str(Path(folder, name))])
            failed += [f'{name}: {what}' for what in growth(SoakHook.seen, args.mib)]
    if failed:
        raise SystemExit('; '.join(failed))


if __name__ == '__main__':
    main()
