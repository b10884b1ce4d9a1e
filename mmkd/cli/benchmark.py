"""Run matrices of trainings, config by seed, and write pages with intervals of confidence.

The runs are done with `mmkd train` and `mmkd test`, one a GPU or, without, as many as there are
cores. What is done is kept in the work directory: the same command after a kill or a failure skips
it, and continues what was begun. JSON and page are written again after every run. Several matrices
share the processes, so that none waits for the last run of another.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

from mmkd.benchmark.matrix import Matrix, read_matrix
from mmkd.benchmark.page import collect, render, write
from mmkd.benchmark.process import num_jobs
from mmkd.benchmark.runs import Run, Runner, all_runs, expected_seconds
from mmkd.files import write_whole


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'matrices',
        nargs='+',
        metavar='MATRIX',
        help='matrix file, such as mmkd::benchmark/demo_digits.py; of several the first is first',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='folder with one folder a run (default: work_dirs/benchmark/NAME)',
    )
    parser.add_argument('--out', type=Path, help='folder of NAME.json and NAME.md (the work dir)')
    parser.add_argument('--only', nargs='+', metavar='ROW', help='run these rows, and teachers')
    parser.add_argument('--jobs', type=int, help='processes at once (default: one a GPU or core)')
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument('--dry-run', action='store_true', help='list what would be run')
    modes.add_argument('--render', action='store_true', help='write the page from the JSON again')
    args = parser.parse_args(argv)
    if args.jobs is not None and args.jobs < 1:
        parser.error(f'--jobs must be 1 or more, found {args.jobs}')
    if len(args.matrices) > 1 and (args.work_dir or args.only):
        parser.error('--work-dir and --only are of one MATRIX; run the others by themselves')
    return args


def _minutes(seconds: float | None) -> str:
    return 'time unknown' if seconds is None else f'{seconds / 60:.1f} min'


def listing(runs: Sequence[Run], jobs: int) -> str:
    """What ``--dry-run`` prints: every command with its state and time, and the sum."""
    expected = expected_seconds(runs)
    lines, left, unknown = [], 0.0, 0
    for run in runs:
        record = run.record
        if 'metrics' in record:
            state = 'done'
        else:
            seconds = expected[run.row]
            left += seconds or 0
            unknown += seconds is None
            state = f'{"continue" if record else "to do"}, {_minutes(seconds)}'
        lines.append(f'{state}: mmkd {shlex.join(run.training())}')
    count = sum('metrics' not in run.record for run in runs)
    total = f'{count} of {len(runs)} runs to do'
    if count > unknown:
        total += f', {_minutes(left)} one after the other, {_minutes(left / jobs)} with {jobs} jobs'
    if unknown:
        total += f'; time unknown of {unknown}, whose rows have no run that is done'
    return '\n'.join([*lines, total])


def render_again(matrix: Matrix, folder: Path) -> Path:
    """Write the page from the JSON file, with the texts of the matrix file."""
    path = folder / f'{matrix.name}.json'
    if not path.is_file():
        raise FileNotFoundError(
            f'--render: there is no {path}; run the matrix first, or give --out'
        )
    page = path.with_suffix('.md')
    write_whole(page, render(matrix, json.loads(path.read_text())).encode())
    return page


class _Page:
    """The page of a matrix, and the runs that it is made of.

    Args:
        source (str): The matrix file, as it was given.
        args (Namespace): Those of the command.
    """

    def __init__(self, source: str, args: argparse.Namespace) -> None:
        self.matrix = read_matrix(source)
        work_dir = args.work_dir or Path('work_dirs/benchmark', self.matrix.name)
        self.folder = args.out or work_dir
        self.runs = all_runs(self.matrix, work_dir, args.only)
        self.everything = all_runs(self.matrix, work_dir)
        path = self.folder / f'{self.matrix.name}.json'
        self.before = json.loads(path.read_text()) if path.is_file() else {}
        self.command = f'mmkd benchmark {source}'
        for name in ('work_dir', 'out'):
            if getattr(args, name) is not None:
                self.command += f' --{name.replace("_", "-")} {getattr(args, name)}'

    def write(self) -> list[Path]:
        results = collect(self.everything, self.command, self.before)
        return write(self.matrix, results, self.folder)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    pages = [_Page(source, args) for source in args.matrices]
    names = [page.matrix.name for page in pages]
    if len(set(names)) < len(names):
        raise ValueError(
            f'{" ".join(args.matrices)}: their runs and pages are named {", ".join(names)}; give '
            'matrix files of different names, or run one after the other with a --work-dir each'
        )
    if args.render:
        for page in pages:
            print(render_again(page.matrix, page.folder))
        return
    of_run = {run: page for page in pages for run in page.runs}
    runs, jobs = list(of_run), args.jobs or num_jobs()
    if args.dry_run:
        print(listing(runs, jobs))
        return
    # Ended as by Ctrl-C, with the trainings.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    runner = Runner(runs, jobs)
    print(f'{len(runs) - len(runner.todo)} of {len(runs)} runs are done')
    try:
        failures = runner.run(lambda run: of_run[run].write())
    except KeyboardInterrupt:
        raise SystemExit('stopped, with what it ran; the same command goes on from there') from None
    for page in pages:
        print('\n'.join(map(str, page.write())))
    if failures:
        raise SystemExit(
            f'{len(failures)} runs failed, the same command tries again: {failures[0]}'
        )
