"""What steps cost: one JSON file with every time, and one page in Markdown."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from mmkd.files import write_whole

from .page import environment_list, period, table
from .statistics import median_interval
from .step import STEP

#: Name of the files, without their endings.
NAME = 'speed'

_HOW = """\
*R* is the time of a step of distillation over the sum of what its networks take on their own: the
step of every network that is trained, with its own losses (of one with exits, the cross entropy of
all its classifiers), and the forward of every frozen teacher (of a classifier up to its logits, of
a detector up to its neck). So 1 is a distillation that costs nothing itself. It may be less: a
teacher runs no further than its last tap. What joins two networks, and a teacher's head that runs
on the student's boxes, count as distillation.

A step is forward, backward and update; loading data and normalising it are no part of it. Images,
labels and the weights of teachers are random, all terms are on, and the learning rate is 0, so that
all steps do the same work. All parts are timed in turns in one process, in as many rounds as the
commands say, and R is that of each round: given is the median, with its 95 % confidence interval
(by the order of the rounds' values, whatever their distribution). The interval is over the rounds
of one run: another run, beside other work of the machine, can give an R outside of it. Times are
medians too; one thread on a CPU is timed by what it takes of the processor, without its waiting for
other processes. *MiB* is the most memory of tensors that a step holds beyond weights and the
optimizer's buffers, of the distillation and of the largest of its networks on their own."""


def _machine(row: Mapping[str, Any]) -> str:
    return ', '.join(row['environment']['hardware'])


def _setting(row: Mapping[str, Any]) -> tuple:
    """What a row says that it measured; another one with the same takes its place."""
    what = (row[key] for key in ('config', 'options', 'amp', 'batch', 'shape'))
    return _machine(row), *what


def ratios(seconds: Mapping[str, Sequence[float]]) -> list[float]:
    """R of every round: the step over the sum of the other parts.

    Args:
        seconds (mapping): Part to its times, one a round.
    """
    alone = [times for name, times in seconds.items() if name != STEP]
    return [step / sum(others) for step, *others in zip(seconds[STEP], *alone, strict=True)]


def ratio(row: Mapping[str, Any]) -> str:
    """The median of R with its interval, as the page shows it."""
    center, low, high = median_interval(ratios(row['seconds']))
    return f'{center:.2f} ({low:.2f} to {high:.2f})'


def milliseconds(row: Mapping[str, Any], part: str) -> str:
    """The median time of a part, as the page shows it."""
    return f'{1e3 * median(row["seconds"][part]):.1f}'


def label(row: Mapping[str, Any]) -> str:
    """What the page calls a row."""
    extra = [f'{key}={value}' for key, value in row['options'].items()]
    extra += ['amp'] if row['amp'] else []
    return row['config'].removeprefix('mmkd::') + (f' ({", ".join(extra)})' if extra else '')


def command(rows: Sequence[Mapping[str, Any]]) -> str:
    """The command that measures rows of the same arguments, a config a line."""
    lines = ['mmkd benchmark_step', *(shlex.quote(row['config']) for row in rows)]
    return ' \\\n    '.join([*lines, shlex.join(rows[0]['arguments'])])


def _measured(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was measured on one machine: when and with what, and the table."""
    cells = [['', 'images', 'step, ms', 'on their own, ms', 'R', 'MiB', 'on its own']]
    for row in rows:
        alone = [name for name in row['seconds'] if name != STEP]
        cells.append(
            [
                label(row),
                'x'.join(map(str, [row['batch'], *row['shape']])),
                milliseconds(row, STEP),
                ', '.join(f'{name} {milliseconds(row, name)}' for name in alone),
                ratio(row),
                f'{row["memory"][STEP]:.0f}',
                f'{max(row["memory"][name] for name in alone):.0f}',
            ]
        )
    return [
        f'Measured {period([row["date"] for row in rows])} on:',
        environment_list(row['environment'] for row in rows),
        table(cells),
    ]


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """The page.

    Args:
        rows (sequence of mapping): Of the JSON file.
    """
    machines: dict[str, list] = {}
    commands: dict[tuple, dict] = {}
    for row in rows:
        machines.setdefault(_machine(row), []).append(row)
        # The same on every machine.
        commands.setdefault(tuple(row['arguments']), {})[row['config']] = row
    parts = [
        '# What a step of distillation costs',
        '<!-- Written by mmkd benchmark_step. -->',
        _HOW,
        *(part for some in machines.values() for part in _measured(some)),
        '## Commands',
        f'Every time of every round is in [{NAME}.json]({NAME}.json).',
        '\n'.join(
            ['```shell', *(command(list(some.values())) for some in commands.values()), '```']
        ),
    ]
    return '\n\n'.join(parts) + '\n'


def write(row: Mapping[str, Any], folder: Path) -> list[Path]:
    """Add a row to the JSON file of a folder, and write the page again; the files.

    A row of the same machine, config and setting gives way to it. They are ordered by machine, by
    the command that measures them, and by config.

    Args:
        row (mapping): What was measured.
        folder (Path): Where the files are, or go.
    """
    files = [folder / f'{NAME}{ending}' for ending in ('.json', '.md')]
    rows = json.loads(files[0].read_text()) if files[0].is_file() else []
    others = [old for old in rows if _setting(old) != _setting(row)]
    rows = sorted([*others, row], key=lambda row: (_machine(row), row['arguments'], row['config']))
    write_whole(files[0], (json.dumps(rows, indent=1) + '\n').encode())
    write_whole(files[1], render(rows).encode())
    return files
