"""What came out of a matrix: one JSON file with every run, and one page in Markdown."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from mmkd.files import write_whole

from .matrix import Matrix, Metric, Row
from .runs import Run
from .statistics import mean_interval, paired_differences

_HOW = (
    "Mean over seeds ± half of the 95 % confidence interval (Student's t). *Gain* is the mean of "
    'the differences to the control with the same seed, with its interval: where this does not '
    'contain 0, the gain is shown. *Minutes* are the mean wall time of a training, *MiB* the '
    'largest memory of one.'
)


def collect(runs: Iterable[Run], command: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """What is done of some runs, as it is written to the JSON file.

    Runs of another work directory, or machine, that the file has stay in it until they are done
    here, unless the matrix has changed or their teacher was trained anew.

    Args:
        runs (iterable of Run): All of a matrix.
        command (str): The one that ran them.
        before (mapping): What the JSON file has, or nothing.

    Returns:
        dict[str, Any]: ``command``, ``environments``, and ``runs``, the records of those that are
        done, each with the index of its environment.
    """
    elsewhere = {(run['row'], run['seed']): run for run in before.get('runs', ())}
    environments, done = [], []
    for run in runs:
        record = run.record
        if 'metrics' not in record:
            record = elsewhere.get((run.row.name, run.seed))
            if record is None or (run.teacher is not None and run.teacher.record):
                continue
            if any(record[key] != value for key, value in run.identity.items()):
                continue
            record = {**record, 'environment': before['environments'][record['environment']]}
        if record['environment'] not in environments:
            environments.append(record['environment'])
        done.append({**record, 'environment': environments.index(record['environment'])})
    return dict(command=command, environments=environments, runs=done)


def write(matrix: Matrix, results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write JSON and page into a folder, named as the matrix; the files."""
    files = [folder / f'{matrix.name}{ending}' for ending in ('.json', '.md')]
    write_whole(files[0], (json.dumps(results, indent=1) + '\n').encode())
    write_whole(files[1], render(matrix, results).encode())
    return files


class Results:
    """The runs of a matrix that are done, by row and seed.

    Args:
        matrix (Matrix): What was compared.
        results (mapping): From :func:`collect`, or read from the JSON file.

    Raises:
        ValueError: If the matrix says that something else was run.
    """

    def __init__(self, matrix: Matrix, results: Mapping[str, Any]) -> None:
        self.runs: dict[str, dict[int, dict]] = {name: {} for name in matrix.all_rows}
        for run in results['runs']:
            row = matrix.all_rows.get(run['row'])
            found = [run[key] for key in ('config', 'options', 'teacher', 'amp')]
            if row is None or found != [row.config, dict(row.options), row.teacher, matrix.amp]:
                raise ValueError(
                    f'{matrix.source} has no row {run["row"]} with the config, options and teacher '
                    'of the run in the JSON file; change it back, or run it again'
                )
            if run['seed'] in row.seeds:
                self.runs[row.name][run['seed']] = run

    def values(self, row: Row | str, metric: Metric) -> dict[int, float]:
        """Seed to metric, as the page shows it."""
        runs = self.runs[row if isinstance(row, str) else row.name]
        return {
            seed: metric.scale * run['metrics'][metric.key]
            for seed, run in sorted(runs.items())
            if metric.key in run['metrics']
        }

    def gain(self, row: Row, metric: Metric) -> str:
        """The paired difference to the control, empty without one."""
        if row.control is None:
            return ''
        control = self.values(row.control, metric)
        return _plus_minus(paired_differences(self.values(row, metric), control), '+.1f')


def _plus_minus(values: Mapping[int, float], form: str = '.1f') -> str:
    if not values:
        return ''
    center, half = mean_interval(list(values.values()))
    return f'{center:{form}}' + ('' if half is None else f' ± {half:.1f}')


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first row is its head."""
    lines = [f'| {" | ".join(row)} |' for row in rows]
    return '\n'.join([lines[0], '|' + ' --- |' * len(rows[0]), *lines[1:]])


def _main_table(matrix: Matrix, results: Results) -> str:
    metric = matrix.metrics[0]
    head = ['', 'runs', metric.label, 'each', 'control', 'gain', 'minutes', 'MiB']
    rows = [head]
    for row in matrix.all_rows.values():
        runs = results.runs[row.name]
        values = results.values(row, metric)
        # What stopped in between has no time of the whole.
        seconds = [r['train']['seconds'] for r in runs.values() if not r['train']['resumed']]
        memory = [r['train'].get('gpu_memory', r['train']['memory']) for r in runs.values()]
        rows.append(
            [
                row.label,
                f'{len(runs)}' + ('' if len(runs) == len(row.seeds) else f' of {len(row.seeds)}'),
                _plus_minus(values),
                ', '.join(f'{value:.1f}' for value in values.values()),
                matrix.rows[row.control].label if row.control else '',
                results.gain(row, metric),
                f'{mean(seconds) / 60:.1f}' if seconds else '',
                f'{max(memory):.0f}' if memory else '',
            ]
        )
    return table(rows)


def _other_table(matrix: Matrix, results: Results) -> str:
    """The other metrics, where there are any, each with its gain."""
    others = matrix.metrics[1:]
    rows = []
    for row in matrix.all_rows.values():
        cells = []
        for metric in others:
            value, gain = _plus_minus(results.values(row, metric)), results.gain(row, metric)
            cells.append(f'{value} ({gain})' if gain else value)
        if any(cells):
            rows.append([row.label, *cells])
    return table([['', *(metric.label for metric in others)], *rows]) if rows else ''


def period(dates: Sequence[str]) -> str:
    """A date, or the first and the last of several."""
    first, last = min(dates), max(dates)
    return first if first == last else f'{first} to {last}'


def environment_list(environments: Iterable[Mapping[str, Any]]) -> str:
    """A list in Markdown of what something was measured on: an item for all commits of mmkd."""
    commits: dict[tuple, dict[str, None]] = {}
    for environment in environments:
        mmkd, *others = environment['versions']
        name, _, commit = mmkd.rstrip(')').partition(' (')
        machine = (*environment['hardware'], environment['processes'])
        commits.setdefault((machine, name, tuple(others)), {})[commit] = None
    lines = []
    for (machine, name, others), found in commits.items():
        known = ', '.join(filter(None, found))
        lines.append(', '.join([*machine, name + (f' ({known})' if known else ''), *others]))
    return '\n'.join(f'* {line}' for line in lines)


def _where(matrix: Matrix, results: Mapping[str, Any], shown: Results) -> str:
    dates = [run['date'] for run in results['runs']]
    done = sum(map(len, shown.runs.values()))
    total = sum(len(row.seeds) for row in matrix.all_rows.values())
    text = f'{done} of {total} runs are done.'
    if dates:
        text = f'Measured {period(dates)}. {text}'
    return '\n\n'.join(filter(None, [text, environment_list(results['environments'])]))


def _commands(matrix: Matrix, results: Mapping[str, Any], shown: Results) -> str:
    """The command that does it all, and what it ran with the first seed."""
    lines = [results['command']]
    for row in matrix.all_rows.values():
        runs = shown.runs[row.name]
        if runs:
            run = runs[min(runs)]
            lines += [f'# {row.label}', shlex.join(run['train']['command'])]
    return '\n'.join(['```shell', *lines, '```'])


def render(matrix: Matrix, results: Mapping[str, Any]) -> str:
    """The page: texts of the matrix file, numbers of the JSON file.

    Args:
        matrix (Matrix): What was compared.
        results (mapping): From :func:`collect`, or read from the JSON file.

    Raises:
        ValueError: If the matrix says that something else was run.
    """
    shown = Results(matrix, results)
    parts = [
        f'# {matrix.title}',
        f'<!-- Written by mmkd benchmark; the texts are those of {matrix.source}. -->',
        matrix.prose.strip(),
        _where(matrix, results, shown),
        _HOW,
        _main_table(matrix, shown),
    ]
    others = _other_table(matrix, shown)
    if others:
        parts += ['Other metrics, in brackets the gain over the same one of the control:', others]
    parts += [
        matrix.notes.strip(),
        '## Commands',
        'The first runs everything; the others are its trainings with one seed. Those of every '
        f'seed, all metrics and the CPU time are in [{matrix.name}.json]({matrix.name}.json).',
        _commands(matrix, results, shown),
    ]
    return '\n\n'.join(filter(None, parts)) + '\n'
