"""Kill trainings with SIGKILL, resume them, and compare them with one that was never killed.

Runs are killed at any moment, or at a file operation in their work directory (opening, renaming or
removing a checkpoint), at once or up to some milliseconds into it. After every kill each file under
a checkpoint's name has to load, and the resumed run has to go on from what `last_checkpoint` named.
A run that comes to its end has to leave the same files as the reference, with the same weights,
optimizer, schedule and history, to the last bit.

The trainings, on the demo's digits, take some seconds; every run is a fork of this process, which
has imported what they need. They leave out what takes most of their time and has no part in saving:
the layout of the config's text, and the list of compilers in the log. Ends with exit code 1 if
anything was lost or differs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault('OMP_NUM_THREADS', '1')

import mmengine.config.config
import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from mmkd import cli
from mmkd.publish import plain_model
from mmkd.registry import MODELS

#: What a run would import, once for all forks.
IMPORTED = [
    'mmkd.cli.train',
    *(f'mmkd.{name}' for name in ('datasets', 'distillers', 'evaluation', 'losses')),
    *(
        f'mmpretrain.{name}'
        for name in ('datasets', 'engine', 'evaluation', 'models', 'structures', 'visualization')
    ),
]
DEMO = Path(__file__).resolve().parents[2] / 'configs/demo'
EPOCHS = 6
#: Longest time, in seconds, from the start of a file operation to the kill.
DELAY = 0.004
_CONFIG = """
_base_ = {demo!r}
model = dict(teacher=dict(checkpoint={teacher!r}), losses=dict(_delete_=True, term={term}))
train_dataloader = dict(batch_size=32, dataset=dict(indices=128))
val_dataloader = dict(dataset=dict(indices=64))
train_cfg = dict(max_epochs={epochs}, val_interval={val_interval})
param_scheduler = dict(
    _delete_=True, type='CosineAnnealingLR', T_max={epochs}, convert_to_iter_based=True
)
default_hooks = dict(checkpoint=dict({checkpoint}))
{more}
"""
_KD = "dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=4.0)"
_CRD = (
    "dict(type='CRDLoss', student='head.fc:input', teacher='head.fc:input', num_data=128, "
    'num_negatives=64)'
)
_FT = "dict(type='FactorTransferLoss', student='backbone.layer2', teacher='backbone.layer2')"
_BEST = "save_best='accuracy/top1', rule='greater'"


@dataclass(frozen=True)
class Scenario:
    """A training to kill."""

    term: str = _KD
    checkpoint: str = 'max_keep_ckpts=1'
    val_interval: int = 1
    more: str = ''
    processes: int = 1


SCENARIOS = {
    'kd': Scenario(checkpoint=f'max_keep_ckpts=1, {_BEST}'),
    'kd_keep_2': Scenario(checkpoint=f'max_keep_ckpts=2, {_BEST}', val_interval=2),
    'crd': Scenario(_CRD),
    'pretrain': Scenario(
        _FT, more="custom_hooks = [dict(type='mmkd.PretrainHook', losses=['term'], length=2)]"
    ),
    'two_ranks': Scenario(checkpoint='max_keep_ckpts=2', processes=2),
}


@dataclass
class Report:
    """What came of the kills of one scenario."""

    kills: int = 0
    at_files: int = 0
    before_first: int = 0
    finished: int = 0
    equal: int = 0
    wrong: list[str] = field(default_factory=list)


def save_teacher(path: Path) -> None:
    """Save the demo's teacher of digits, untrained."""
    cfg = Config.fromfile(DEMO / 'digits_teacher.py')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(1)
        torch.save(MODELS.build(plain_model(cfg)).state_dict(), path)


def kill_at(folder: Path, count: int, delay: float) -> Callable:
    """An audit hook that kills its process at the ``count``-th file operation in a folder."""
    left = count

    def hook(event: str, args: tuple) -> None:
        nonlocal left
        if event not in ('open', 'os.rename', 'os.remove'):
            return
        if not isinstance(args[0], (str, os.PathLike)) or Path(args[0]).parent != folder:
            return
        left -= 1
        if left:
            return
        process = os.getpid()
        if delay and os.fork():
            return
        time.sleep(delay)
        os.kill(process, signal.SIGKILL)
        os._exit(0)

    return hook


def start(config: Path, work_dir: Path, processes: int, hooks: dict[int, Callable]) -> list[int]:
    """Fork the processes of one training; return their ids."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    pids = []
    for rank in range(processes):
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        log = os.open(f'{work_dir}.{rank}.log', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        argv = [str(config), '--work-dir', str(work_dir), '--resume']
        if processes > 1:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
            os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
            argv += ['--launcher', 'pytorch']
        code = 1
        try:
            if rank in hooks:
                sys.addaudithook(hooks[rank])
            cli.run('train', argv)
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return pids


def wait(
    pids: list[int],
    victim: int | None = None,
    after: float = float('inf'),
    log: Path | None = None,
) -> list[int]:
    """Wait for processes to end; return their exit codes, minus the signal where there was one.

    Args:
        pids (list[int]): The processes. If one ends badly the others get SIGTERM, as by torchrun.
        victim (int, optional): Which one to kill.
        after (float): Seconds until then.
        log (Path, optional): Count them from when this log says that training starts.
    """
    begin, codes = None if log else time.monotonic(), {}
    while len(codes) < len(pids):
        for pid in pids:
            if pid in codes:
                continue
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = os.waitstatus_to_exitcode(status)
                if codes[pid]:
                    for other in set(pids) - codes.keys():
                        os.kill(other, signal.SIGTERM)
        if begin is None and b'Checkpoints will be saved' in log.read_bytes():
            begin = time.monotonic()
        if victim is not None and begin is not None and time.monotonic() - begin > after:
            if pids[victim] not in codes:
                os.kill(pids[victim], signal.SIGKILL)
            victim = None
        time.sleep(0.002)
    return [codes[pid] for pid in pids]


def load(path: Path) -> dict[str, Any]:
    return CheckpointLoader.load_checkpoint(str(path), 'cpu', logger='silent')


def same(a: Any, b: Any) -> bool:
    """Whether two values of checkpoints are equal to the last bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, HistoryBuffer):
        return all(map(np.array_equal, a.data, b.data))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def outcome(work_dir: Path) -> dict[str, Any]:
    """Everything that a finished training leaves and that does not depend on the clock."""
    result = {'files': sorted(p.name for p in work_dir.iterdir() if p.is_file())}
    for path in work_dir.glob('*.pth'):
        content = load(path)
        hub = content.pop('message_hub', {})
        scalars = hub.get('log_scalars', {})
        # Of validations a checkpoint knows those that came before it was written.
        kept = {k: v for k, v in scalars.items() if not re.search('time|memory|eta|^val/', k)}
        meta = {k: content['meta'].get(k) for k in ('epoch', 'iter', 'seed', 'mmkd_batch')}
        info = {k: v for k, v in hub.get('runtime_info', {}).items() if 'best_score' in k}
        result[path.name] = dict(content, meta=meta, scalars=kept, info=info)
    return result


def pointed(work_dir: Path) -> int:
    """The epoch of the checkpoint that ``last_checkpoint`` names; 0 if there is none.

    Raises:
        ValueError: If a file under a checkpoint's name does not load, or the named one is gone.
    """
    for path in work_dir.glob('*.pth'):
        load(path)
    pointer = work_dir / 'last_checkpoint'
    if not pointer.exists():
        return 0
    named = Path(pointer.read_text())
    if not named.is_file():
        raise ValueError(f'last_checkpoint names {named.name!r}, which is not there')
    return load(named)['meta']['epoch']


def attempt(
    scenario: Scenario, config: Path, work_dir: Path, seconds: float, report: Report
) -> bool:
    """Start or resume a training and kill it; return whether to let it come to its end now."""
    log = Path(f'{work_dir}.0.log')
    log.write_text('')
    before = pointed(work_dir) if work_dir.exists() else 0
    victim = random.randrange(scenario.processes)
    if random.random() < 0.6 and victim == 0:
        delay = random.choice([0, random.uniform(0, DELAY)])
        hook = kill_at(work_dir, random.randint(1, 30), delay)
        codes = wait(start(config, work_dir, scenario.processes, {victim: hook}))
        at_file = True
    else:
        pids = start(config, work_dir, scenario.processes, {})
        from_start = random.random() < 0.2
        codes = wait(pids, victim, random.uniform(0, seconds / 2), None if from_start else log)
        at_file = False
    text = log.read_text()
    resumed = re.findall(r'resumed epoch: (\d+)', text)
    if resumed and int(resumed[-1]) < before:
        report.wrong.append(f'resumed at epoch {resumed[-1]}, was at {before}')
    if -signal.SIGKILL not in codes:
        if any(codes):
            report.wrong.append(f'ended with {codes}: {text.splitlines()[-1]}')
        return True
    report.kills += 1
    report.at_files += at_file
    try:
        after = pointed(work_dir) if work_dir.exists() else 0
    except Exception as error:
        report.wrong.append(f'after a kill: {error}')
        return True
    if after < before:
        report.wrong.append(f'lost: last_checkpoint was of epoch {before}, is of {after}')
    report.before_first += after == 0
    # Once all epochs are done there is little left to kill.
    return after == EPOCHS and random.random() < 0.5


def campaign(name: str, folder: Path, kills: int, deadline: float) -> Report:
    """Kill a scenario's training ``kills`` times, or until the deadline."""
    scenario, report = SCENARIOS[name], Report()
    config = folder / f'{name}.py'
    config.write_text(
        _CONFIG.format(
            demo=str(DEMO / 'digits_kd.py'),
            teacher=str(folder / 'teacher.pth'),
            term=scenario.term,
            epochs=EPOCHS,
            val_interval=scenario.val_interval,
            checkpoint=scenario.checkpoint,
            more=scenario.more,
        )
    )
    reference, work_dir = folder / f'{name}_reference', folder / name
    begin = time.monotonic()
    codes = wait(start(config, reference, scenario.processes, {}))
    if any(codes):
        raise SystemExit(f'{name}: the reference failed; see {reference}.0.log')
    seconds, expected = time.monotonic() - begin, outcome(reference)
    while report.kills < kills and time.monotonic() < deadline and not report.wrong:
        finished = False
        while not finished and report.kills < kills and time.monotonic() < deadline:
            finished = attempt(scenario, config, work_dir, seconds, report)
        if not report.wrong:
            codes = wait(start(config, work_dir, scenario.processes, {}))
            if any(codes):
                report.wrong.append(f'--resume to the end failed; see {work_dir}.0.log')
        if not report.wrong:
            report.finished += 1
            found = outcome(work_dir)
            differ = [
                f'{key}' for key in expected | found if not same(expected.get(key), found.get(key))
            ]
            report.equal += not differ
            if differ:
                report.wrong.append(f'differs from the uninterrupted run: {", ".join(differ)}')
        if not report.wrong:
            shutil.rmtree(work_dir)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--kills', type=int, default=100, help='in all; default: %(default)s')
    parser.add_argument('--minutes', type=float, default=30, help='at most; default: %(default)s')
    parser.add_argument('--scenarios', nargs='+', choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument('--seed', type=int, default=0, help='of where the kills hit')
    args = parser.parse_args()
    random.seed(args.seed)
    torch.set_num_threads(1)
    for module in IMPORTED:
        importlib.import_module(module)
    mmengine.config.config.FormatCode = lambda text, **style: (text, False)
    Runner._log_env = lambda self, env_cfg: None
    begin = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix='kill_campaign_')).resolve()
    # What processes exchange in the working directory stays there when they are killed.
    os.chdir(folder)
    save_teacher(folder / 'teacher.pth')
    print(f'{"scenario":10}  kills  at files  before 1st save  finished  equal  wrong')
    total, wrong = 0, False
    for index, name in enumerate(args.scenarios):
        share = (index + 1) / len(args.scenarios)
        kills = round(args.kills * share) - total
        report = campaign(name, folder, kills, begin + 60 * args.minutes * share)
        total += report.kills
        wrong |= bool(report.wrong)
        print(
            f'{name:10}  {report.kills:5}  {report.at_files:8}  {report.before_first:15}  '
            f'{report.finished:8}  {report.equal:5}  {"; ".join(report.wrong) or "none"}',
            flush=True,
        )
    print(f'{total} kills in {time.monotonic() - begin:.0f} s')
    if wrong:
        raise SystemExit(f'work directories and logs: {folder}')
    shutil.rmtree(folder)


if __name__ == '__main__':
    main()
