"""The trainings and tests of a matrix: what they are, what of them is done, and doing the rest."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from mmengine.runner import find_latest_checkpoint

from mmkd.analysis.curves import read_scalars
from mmkd.engine.config import read_config
from mmkd.files import write_whole

from .environment import environment
from .matrix import Matrix, Row
from .process import Commands, gpus, num_threads
from .progress import Bar

_EPOCH_DONE = re.compile(r'Saving checkpoint at (\d+) epochs')
#: What part of a run is its training, roughly.
_TRAINING = 0.9


@dataclass(frozen=True, eq=False)
class Run:
    """One training and its test.

    Args:
        row (Row): What is trained.
        seed (int): Its ``randomness.seed``.
        folder (Path): Its work directory, which has ``run.json`` of what is done.
        teacher (Run, optional): Whose last checkpoint is the teacher.
        amp (bool): Whether it trains with ``--amp``.
    """

    row: Row
    seed: int
    folder: Path
    teacher: Run | None = None
    amp: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes it from other runs, as records have it."""
        teacher = self.teacher and self.teacher.row.name
        row = self.row
        return dict(
            row=row.name,
            seed=self.seed,
            config=row.config,
            options=dict(row.options),
            teacher=teacher,
            amp=self.amp,
        )

    @property
    def record(self) -> dict[str, Any]:
        """What is done: empty, then with ``train``, then with ``metrics`` too.

        Raises:
            ValueError: If the folder is of a run with another config, option or teacher.
        """
        path = self.folder / 'run.json'
        if not path.is_file():
            return {}
        record = json.loads(path.read_text())
        for key, value in self.identity.items():
            if record.get(key) != value:
                raise ValueError(
                    f'{path} is of a run with {key}={record.get(key)!r}, and the matrix says '
                    f'{value!r}; remove the folder, or give another --work-dir'
                )
        return record

    def note(self, **new: Any) -> None:
        """Add to the record."""
        record = {**self.identity, **self.record, **new}
        write_whole(self.folder / 'run.json', json.dumps(record, indent=2).encode())

    @property
    def checkpoint(self) -> Path:
        """The last one of the training, for where the folder lies now."""
        found = find_latest_checkpoint(self.folder)
        if found is None:
            raise RuntimeError(
                f'{self.folder} has no last_checkpoint; the config must have '
                'default_hooks.checkpoint'
            )
        return self.folder / Path(found).name

    def options(self, teacher: str | None = None) -> list[str]:
        """``--cfg-options`` of this run, with a teacher's checkpoint if one is given."""
        options = {'randomness.seed': self.seed, **self.row.options}
        if teacher is not None:
            options[self.row.teacher_key] = teacher
        return ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]

    def training(self) -> list[str]:
        """Arguments of ``mmkd`` that train it; before its teacher is there, with `LAST` in it."""
        teacher = self.teacher
        if teacher is not None:
            done = 'train' in teacher.record
            teacher = str(teacher.checkpoint if done else teacher.folder / 'LAST.pth')
        amp = ['--amp'] if self.amp else []
        start = ['train', self.row.config, '--work-dir', str(self.folder), *amp]
        return [*start, *self.options(teacher)]

    def test(self) -> list[str]:
        """Arguments of ``mmkd`` that test it, with all of its exits and networks."""
        out = str(self.folder / 'test')
        start = ['test', self.row.config, str(self.checkpoint), '--work-dir', out]
        return [*start, *self.options()]

    def read_metrics(self) -> dict[str, float]:
        """What the newest test reported."""
        newest = max(path for path in (self.folder / 'test').iterdir() if path.is_dir())
        return json.loads((newest / f'{newest.name}.json').read_text())

    def num_epochs(self) -> int | None:
        """How many epochs it trains; None for a schedule in iterations.

        Raises:
            FileNotFoundError: If there is no such config.
        """
        cfg = read_config(self.row.config, f'config of {self.row.name}')
        given = self.row.options.get('train_cfg.max_epochs')
        return cfg.train_cfg.get('max_epochs') if given is None else int(given)


def all_runs(matrix: Matrix, work_dir: Path, only: Iterable[str] | None = None) -> list[Run]:
    """The runs of a matrix in an order in which they can be done: teachers first.

    Args:
        matrix (Matrix): What is compared.
        work_dir (Path): Has the folder of every run.
        only (iterable of str, optional): Names of rows; their teachers come along.

    Raises:
        ValueError: If there is no such row.
    """
    chosen = matrix.all_rows if only is None else set(only)
    for name in chosen:
        if name not in matrix.all_rows:
            raise ValueError(f'--only {name}: expected one of {", ".join(matrix.all_rows)}')
    needed = {row.teacher for name, row in matrix.all_rows.items() if name in chosen}
    for name, row in reversed(matrix.teachers.items()):
        if name in needed:
            needed.add(row.teacher)
    teachers: dict[str, Run] = {}
    for name, row in matrix.teachers.items():
        if name in chosen or name in needed:
            teacher = teachers.get(row.teacher)
            teachers[name] = Run(row, row.seeds[0], work_dir / name, teacher, matrix.amp)
    # Seed by seed, so that whenever it is stopped the rows have nearly the same ones.
    students = [
        Run(row, seed, work_dir / f'{name}_seed{seed}', teachers.get(row.teacher), matrix.amp)
        for name, row in matrix.rows.items()
        if name in chosen
        for seed in row.seeds
    ]
    students.sort(key=lambda run: list(run.row.seeds).index(run.seed))
    return [*teachers.values(), *students]


def expected_seconds(runs: Sequence[Run]) -> dict[Row, float | None]:
    """How long a run of each row takes, by the runs that are done; else as the matrix file says.

    Returns:
        dict[Row, float | None]: Seconds; None where neither is known.
    """
    found: dict[Row, list[float]] = {}
    for run in runs:
        record = run.record
        if 'metrics' in record and not record['train']['resumed']:
            seconds = record['train']['seconds'] + record['test']['seconds']
            found.setdefault(run.row, []).append(seconds)
    return {run.row: mean(found[run.row]) if run.row in found else run.row.seconds for run in runs}


class Runner:
    """Does what is not done of some runs, each in processes of its own.

    Args:
        runs (sequence of Run): Of one matrix or several, teachers before those whom they teach.
        jobs (int): How many at once.
        keep_going (bool): Whether the others go on when one fails. Defaults to True.
    """

    def __init__(self, runs: Sequence[Run], jobs: int, keep_going: bool = True) -> None:
        self.todo = [run for run in runs if 'metrics' not in run.record]
        self.jobs, self.keep_going = jobs, keep_going
        together = f'{jobs} run{"s" * (jobs > 1)} at once'
        self.environment = environment(f'{together}, OMP_NUM_THREADS={num_threads()}')
        expected = expected_seconds(runs)
        known = [seconds for seconds in expected.values() if seconds]
        # Of what nothing is known, as long as the others.
        self.seconds = {row: s or (mean(known) if known else 1) for row, s in expected.items()}
        # Here and not in the pool: resolving `mmkd::` imports, and is not safe in several threads.
        rows = {run.row: run for run in self.todo}
        self.epochs = {row: run.num_epochs() for row, run in rows.items()}

    def run(self, done: Callable[[Run], None] = lambda run: None) -> list[str]:
        """Do it all.

        Args:
            done (Callable): Is given each run when it is done, one at a time.

        Returns:
            list[str]: Sentences about those that failed, with ``keep_going``.

        Raises:
            RuntimeError: If one fails, without ``keep_going``.
        """
        total = sum(self.seconds[run.row] for run in self.todo)
        waiting = sorted(self.todo, key=self._order)
        running: dict[Future, Run] = {}
        failed: dict[Run, str] = {}
        with Bar(total) as bar, ThreadPoolExecutor(self.jobs) as pool:
            commands = Commands(bar.say, self.jobs)

            def end(run: Run, error: BaseException | None) -> None:
                if error is None:
                    done(run)
                elif self.keep_going:
                    failed[run] = f'{run.folder}: {error}'
                    bar.say(failed[run])
                else:
                    raise error

            try:
                while waiting or running:
                    for run in list(waiting):
                        if run.teacher in failed:
                            waiting.remove(run)
                            end(run, RuntimeError(f'its teacher {run.teacher.row.name} failed'))
                        elif len(running) < self.jobs and self._may_start(run):
                            waiting.remove(run)
                            running[pool.submit(self._do, run, commands, bar)] = run
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        end(running.pop(future), future.exception())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                commands.stop()
                raise
        return list(failed.values())

    @staticmethod
    def _may_start(run: Run) -> bool:
        return run.teacher is None or 'metrics' in run.teacher.record

    def _order(self, run: Run) -> tuple[int, float]:
        """Teachers first, the longest of them first; then as given."""
        return (0, -self.seconds[run.row]) if run.row.is_teacher else (1, 0.0)

    def _do(self, run: Run, commands: Commands, bar: Bar) -> None:
        left = seconds = self.seconds[run.row]

        def see(line: str) -> None:
            nonlocal left
            found, epochs = _EPOCH_DONE.search(line), self.epochs[run.row]
            if found and epochs:
                goal = seconds * (1 - _TRAINING * min(1, int(found[1]) / epochs))
                bar.advance(left - goal)
                left = goal

        record = run.record
        if 'train' not in record:
            resumed = bool(record)
            run.note(environment=self.environment)
            arguments, resume = run.training(), ['--resume'] if resumed else []
            usage = commands.run(
                [*arguments[:2], *resume, *arguments[2:]], run.folder / 'train.log', see
            )
            train = dict(command=['mmkd', *arguments], resumed=resumed, **asdict(usage))
            if gpus():
                scalars = read_scalars(run.folder)
                train['gpu_memory'] = max(line.get('memory', 0) for line in scalars)
            run.note(train=train)
        usage = commands.run(run.test(), run.folder / 'test.log')
        bar.advance(left)
        run.note(
            test=dict(command=['mmkd', *run.test()], **asdict(usage)),
            metrics=run.read_metrics(),
            date=time.strftime('%Y-%m-%d'),
        )
