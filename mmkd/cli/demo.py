"""Distil a classifier and a detector on the CPU, with data that comes along.

Trains a teacher, then with each seed a student alone and the same student distilled: on handwritten
digits (knowledge distillation), and on scenes of them of which the student has labels for a fifth
(PKD on Faster R-CNN, from the teacher's neck and heads on). All of it is done with `mmkd train` and
`mmkd test`, in as many processes as there are cores; what an earlier demo left done is not run
again. Prints what `mmkd test` measured, and leaves curves, bars and a picture of detections in the
work directory.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import mean, stdev

import mmkd  # noqa: F401  (safe loading)
from mmkd.analysis.curves import draw_bars, draw_curves, read_scalars
from mmkd.analysis.picture import Picture
from mmkd.analysis.report import Section, study_section, write_report
from mmkd.analysis.study import COLORS as NETWORK_COLORS
from mmkd.analysis.study import read_study
from mmkd.benchmark.matrix import Matrix, read_matrix
from mmkd.benchmark.process import num_jobs
from mmkd.benchmark.runs import Run, Runner, all_runs

DEMOS = ('digits', 'scenes')
ROLES = ('teacher', 'student', 'distilled')
COLORS = dict(zip(ROLES, NETWORK_COLORS.values(), strict=True))


@cache
def _matrix(name: str) -> Matrix:
    """Of one demo: a teacher, a student alone and one distilled, in the order of ``ROLES``."""
    return read_matrix(f'mmkd::benchmark/demo_{name}.py')


def _label(name: str) -> str:
    return f'{name}, {_matrix(name).metrics[0].label}'


def demo_runs(name: str, seeds: Iterable[int], folder: Path) -> dict[str, list[Run]]:
    """The runs of one demo by role.

    Args:
        name (str): Of the demo.
        seeds (iterable of int): Seeds of the students.
        folder (Path): Work directory.
    """
    matrix = _matrix(name)
    rows = {key: replace(row, seeds=list(seeds)) for key, row in matrix.rows.items()}
    found: dict[str, list[Run]] = {}
    for run in all_runs(replace(matrix, rows=rows), folder):
        role = ROLES[list(matrix.all_rows).index(run.row.name)]
        found.setdefault(role, []).append(run)
    return found


def draw(name: str, runs: dict[str, list[Run]]) -> Picture:
    """The curves of one demo."""
    scalars = {role: [read_scalars(run.folder) for run in runs[role]] for role in ROLES}
    figure = draw_curves(scalars, _matrix(name).metrics[0].key, COLORS)
    caption = 'Mean over seeds, in a band of their range.'
    return Picture(f'{name}_curves', 'Curves', figure, caption)


def section(name: str, runs: dict[str, list[Run]], logged: Picture) -> Section:
    """The part of the report on one demo: the first seed's networks beside their teacher."""
    teacher, student, distilled = (runs[role][0] for role in ROLES)
    study = read_study(
        distilled.row.config,
        [str(distilled.checkpoint)],
        [('student', student.row.config, str(student.checkpoint))],
        {distilled.row.teacher_key: str(teacher.checkpoint)},
    )
    return study_section(study, f'{name}, seed {distilled.seed}', logged)


def _range(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f'{values[0]:.1f}'
    return f'{mean(values):.1f} ({min(values):.1f} to {max(values):.1f})'


def table(results: dict[str, dict[str, list[float]]]) -> list[Sequence[str]]:
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
        rows.append((_label(name), *(_range(metrics[role]) for role in ROLES), gain))
    return rows


def report(results: dict[str, dict[str, list[float]]]) -> str:
    """:func:`table`, in columns."""
    rows = table(results)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(f'{cell:{width}}' for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


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
    chosen = [name for name in DEMOS if args.only in (None, name)]
    runs = {name: demo_runs(name, range(args.seeds), args.work_dir) for name in chosen}
    everything = [run for roles in runs.values() for some in roles.values() for run in some]
    Runner(everything, num_jobs(), keep_going=False).run()
    results = {}
    for name in chosen:
        metric = _matrix(name).metrics[0]
        results[name] = {
            role: [metric.scale * run.record['metrics'][metric.key] for run in some]
            for role, some in runs[name].items()
        }
    (args.work_dir / 'results.json').write_text(json.dumps(results, indent=2))
    figure = draw_bars({_label(name): metrics for name, metrics in results.items()}, COLORS)
    bars = Picture('bars', 'All seeds', figure, 'Mean over seeds, with their range.')
    pictures, sections = [bars], [Section('Results', tables=[table(results)], pictures=[bars])]
    for name in chosen:
        logged = draw(name, runs[name])
        sections.append(section(name, runs[name], logged))
        differ = [p for p in sections[-1].pictures if p.name == 'differences']
        pictures += [logged, *(replace(p, name=f'{name}_detections') for p in differ)]
    files = [picture.save(args.work_dir) for picture in pictures]
    command = ['demo', *(sys.argv[1:] if argv is None else argv)]
    files.append(write_report(args.work_dir / 'report.html', 'The demo of mmkd', sections, command))
    print(f'\n{report(results)}\n')
    print('\n'.join(map(str, files)))
