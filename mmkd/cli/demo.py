"""Distil a classifier and a detector on the CPU, with data that comes along.

Trains a teacher, then with each seed a student alone and the same student distilled: on handwritten
digits (knowledge distillation), and on scenes of them of which the student has labels for a fifth
(PKD on Faster R-CNN, from the teacher's neck and heads on). All of it is done with `mmkd train` and
`mmkd test`, in as many processes as there are cores. Prints what `mmkd test` measured, and leaves
curves, bars and a picture of detections in the work directory.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from threading import Lock

from mmengine.runner import find_latest_checkpoint
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mmkd.analysis.comparison import ROLES, draw_bars, draw_curves, draw_detections
from mmkd.analysis.curves import read_scalars
from mmkd.engine.config import read_config

_EPOCH_DONE = re.compile(r'Saving checkpoint at (\d+) epochs')


@dataclass(frozen=True)
class Demo:
    """Three configs in ``configs/demo``, in the order of ``ROLES``, and how they are measured."""

    configs: tuple[str, str, str]
    metric: str
    label: str
    percent: float  # factor that makes the metric a percentage
    seconds: tuple[float, float, float]  # of training, one thread, for the first estimate


DEMOS = {
    'digits': Demo(
        ('digits_teacher', 'digits_student', 'digits_kd'),
        'accuracy/top1',
        'digits, top-1 (%)',
        1,
        (50, 20, 30),
    ),
    'scenes': Demo(
        ('scenes_teacher', 'scenes_student', 'scenes_pkd'),
        'coco/bbox_mAP',
        'scenes, box mAP (%)',
        100,
        (150, 45, 60),
    ),
}
_SECONDS_OF_TEST = 10


class Bar:
    """Progress over all trainings and tests, weighted by how long each is expected to take."""

    def __init__(self, total: float) -> None:
        self._start, self._done, self._total, self._lock = time.monotonic(), 0.0, total, Lock()
        self._progress = Progress(
            TextColumn('{task.percentage:3.0f} %'),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn('{task.description}'),
            console=Console(),
        )
        self._task = self._progress.add_task('', total=total)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._progress.stop()

    def advance(self, seconds: float) -> None:
        """Count work of so many expected seconds as done."""
        with self._lock:
            self._done += seconds
        self._progress.update(self._task, advance=seconds, description=self._left())

    def say(self, line: str) -> None:
        """Print a line above the bar; without a terminal, with the time that is left."""
        if not self._progress.console.is_terminal:
            line = f'{line}  [{self._done / self._total:.0%}, {self._left() or "starting"}]'
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        if not self._done:
            return ''
        elapsed = time.monotonic() - self._start
        seconds = max(0, round(elapsed * (self._total - self._done) / self._done))
        return f'about {seconds // 60}:{seconds % 60:02} min left'


def run(log: Path, bar: Bar, seconds: float, epochs: int, *args: str | Path) -> None:
    """Run a command as a user would; on failure show the end of its log and stop.

    Args:
        log (Path): Where its output goes.
        bar (Bar): What to advance, by an epoch's share with every checkpoint.
        seconds (float): How long it is expected to take.
        epochs (int): How many checkpoints it will write; 0 for a test.
        args (str | Path): The command and its arguments.
    """
    args = list(map(str, args))
    bar.say(f'$ mmkd {shlex.join(args)}')
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, '-m', 'mmkd', *args]
    with (
        log.open('w') as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        for line in process.stdout:
            file.write(line)
            if epochs and _EPOCH_DONE.search(line):
                bar.advance(seconds / epochs)
    if process.returncode:
        end = '\n'.join(log.read_text().splitlines()[-20:])
        raise SystemExit(
            f'{end}\n\n`mmkd {shlex.join(args)}` failed (exit {process.returncode}); all of its '
            f'log: {log}'
        )
    if not epochs:
        bar.advance(seconds)


class Runs:
    """The trainings and tests of one demo, each in a process of its own.

    Args:
        demo (Demo): What to run.
        seeds (sequence of int): Seeds of the students.
        folder (Path): Work directory.
        bar (Bar): Progress of all demos.
    """

    def __init__(self, demo: Demo, seeds: Sequence[int], folder: Path, bar: Bar) -> None:
        self.demo, self.seeds, self.folder, self.bar = demo, seeds, folder, bar
        self.teacher, self.student, self.distilled = demo.configs
        # Here and not in the pool: resolving `mmkd::` imports, and is not safe in several threads.
        self.sources = [f'mmkd::demo/{config}.py' for config in demo.configs]
        self.epochs = [read_config(name, name).train_cfg.max_epochs for name in self.sources]
        self.futures: list[Future] = []

    @staticmethod
    def seconds(demo: Demo, num_seeds: int) -> float:
        """How long all of them would take one after the other."""
        teacher, student, distilled = demo.seconds
        one = student + distilled + 2 * _SECONDS_OF_TEST
        return teacher + _SECONDS_OF_TEST + num_seeds * one

    def work_dir(self, config: str, seed: int | None = None) -> Path:
        """Where a training writes."""
        return self.folder / (config if seed is None else f'{config}_seed{seed}')

    def checkpoint(self, config: str, seed: int | None = None) -> Path:
        """The last one of a training."""
        folder = self.work_dir(config, seed)
        return folder / Path(find_latest_checkpoint(folder)).name

    def start(self, pool: ThreadPoolExecutor) -> None:
        """Give the pool what waits for nothing: the teacher, and the students alone."""
        self._first = pool.submit(self._train, 0)
        self._alone = [pool.submit(self._train, 1, seed) for seed in self.seeds]
        self.futures += [self._first, *self._alone]

    def finish(self, pool: ThreadPoolExecutor) -> dict[str, list[Future]]:
        """Give the pool the rest; the metrics by role, one a seed.

        A pool takes work in order, so that what waits comes after what it waits for.
        """
        distilled = [pool.submit(self._train, 2, seed, self._first) for seed in self.seeds]
        trained = {'teacher': [self._first], 'student': self._alone, 'distilled': distilled}
        tests = {
            role: [
                pool.submit(self._test, ROLES.index(role), seed, training)
                for seed, training in zip(self.seeds, trainings, strict=False)
            ]
            for role, trainings in trained.items()
        }
        self.futures += [*distilled, *(future for some in tests.values() for future in some)]
        return tests

    def _train(self, role: int, seed: int | None = None, after: Future | None = None) -> None:
        if after is not None:
            after.result()
        config = self.demo.configs[role]
        folder = self.work_dir(config, seed)
        source = self.sources[role]
        options = [] if seed is None else [f'randomness.seed={seed}']
        if role == 2:
            options.append(f'model.teacher.checkpoint={self.checkpoint(self.teacher)}')
        options = ['--cfg-options', *options] if options else []
        log, seconds, epochs = folder / 'train.log', self.demo.seconds[role], self.epochs[role]
        run(log, self.bar, seconds, epochs, 'train', source, '--work-dir', folder, *options)

    def _test(self, role: int, seed: int, after: Future) -> float:
        after.result()
        config, seed = self.demo.configs[role], seed if role else None
        if role == 2:
            # Published: a plain model, tested without teacher and distiller.
            folder = self.work_dir(config, seed)
            source, checkpoint = folder / 'student.py', folder / 'student.pth'
        else:
            source, checkpoint = self.sources[role], self.checkpoint(config, seed)
        out = checkpoint.parent / 'test'
        arguments = ('test', source, checkpoint, '--work-dir', out)
        run(out / 'test.log', self.bar, _SECONDS_OF_TEST, 0, *arguments)
        newest = max(path for path in out.iterdir() if path.is_dir())
        metrics = json.loads((newest / f'{newest.name}.json').read_text())
        return self.demo.percent * metrics[self.demo.metric]

    def draw(self) -> list[Path]:
        """Draw curves and, of detectors, what the first seed's students find; the files."""
        scalars = {
            role: [
                read_scalars(self.work_dir(config, seed))
                for seed in (self.seeds if role != 'teacher' else [None])
            ]
            for role, config in zip(ROLES, self.demo.configs, strict=True)
        }
        name = self.teacher.partition('_')[0]
        files = [self.folder / f'{name}_curves.png']
        draw_curves(scalars, self.demo.metric, files[0])
        if name == 'scenes':
            seed = self.seeds[0]
            student = self.work_dir(self.student, seed)
            distilled = self.work_dir(self.distilled, seed)
            files.append(self.folder / 'scenes_detections.png')
            draw_detections(
                {
                    'student': (
                        student / f'{self.student}.py',
                        self.checkpoint(self.student, seed),
                    ),
                    'distilled': (distilled / 'student.py', distilled / 'student.pth'),
                },
                files[1],
            )
        return files


def _range(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f'{values[0]:.1f}'
    return f'{mean(values):.1f} ({min(values):.1f} to {max(values):.1f})'


def report(results: dict[str, dict[str, list[float]]]) -> str:
    """The table that the demo ends with: mean and range over seeds, and the paired gain.

    Args:
        results (dict): Demo to role to metrics in percent, one a seed.
    """
    rows = [('', *ROLES, 'gain')]
    for name, metrics in results.items():
        gains = [d - s for s, d in zip(metrics['student'], metrics['distilled'], strict=True)]
        gain = f'{mean(gains):+.1f}'
        if len(gains) > 1:
            error = stdev(gains) / len(gains) ** 0.5
            gain += f', least {min(gains):+.1f}, standard error {error:.1f}'
        rows.append((DEMOS[name].label, *(_range(metrics[role]) for role in ROLES), gain))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(f'{cell:{width}}' for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def num_workers(threads: int) -> int:
    """How many processes of so many threads this process's cores have room for."""
    return max(1, len(os.sched_getaffinity(0)) // threads)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/demo'),
        help='folder of checkpoints, logs and pictures',
    )
    parser.add_argument('--only', choices=DEMOS, help='run one of the two')
    parser.add_argument('--seeds', type=int, default=2, help='number of seeds (default: 2)')
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error(f'--seeds must be 1 or more, found {args.seeds}')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    # On tensors this small, threads wait for each other more than they help.
    threads = int(os.environ.setdefault('OMP_NUM_THREADS', '1'))
    chosen = {name: demo for name, demo in DEMOS.items() if args.only in (None, name)}
    seeds = range(args.seeds)
    total = sum(Runs.seconds(demo, args.seeds) for demo in chosen.values())
    with Bar(total) as bar, ThreadPoolExecutor(num_workers(threads)) as pool:
        runs = {name: Runs(demo, seeds, args.work_dir, bar) for name, demo in chosen.items()}
        # The longest first.
        order = sorted(runs, key=lambda name: -sum(DEMOS[name].seconds))
        for name in order:
            runs[name].start(pool)
        measured = {name: runs[name].finish(pool) for name in order}
        try:
            # In the order in which they end: a failure stops the demo when it happens.
            for future in as_completed([f for some in runs.values() for f in some.futures]):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    results = {
        name: {
            role: [future.result() for future in futures]
            for role, futures in measured[name].items()
        }
        for name in chosen
    }
    bars = args.work_dir / 'bars.png'
    draw_bars({DEMOS[name].label: metrics for name, metrics in results.items()}, bars)
    pictures = [bars]
    for demo_runs in runs.values():
        pictures += demo_runs.draw()
    (args.work_dir / 'results.json').write_text(json.dumps(results, indent=2))
    print(f'\n{report(results)}\n')
    print('\n'.join(map(str, pictures)))
