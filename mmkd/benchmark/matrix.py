"""What is compared with what: a matrix file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mmkd.engine.config import read_config


@dataclass(frozen=True)
class Metric:
    """One number of those that ``mmkd test`` reports.

    Args:
        key (str): Its name, such as ``'accuracy/top1'``.
        label (str): What the page calls it.
        scale (float): Factor on the page. Defaults to 1.
    """

    key: str
    label: str
    scale: float = 1


@dataclass(frozen=True, eq=False)
class Row:
    """One training, with as many seeds as are asked for.

    Args:
        name (str): Key of the row in its file, and the start of the names of its work directories.
        label (str): What the page calls it.
        config (str): Config file, or ``'mmkd::folder/name.py'``.
        options (mapping): As of ``--cfg-options``, with those of the whole matrix.
        seeds (sequence of int): One training each.
        control (str, optional): Name of the row that it is compared with, seed by seed.
        teacher (str, optional): Name of the teacher whose last checkpoint it is given. A teacher
            may have one itself, of those before it.
        teacher_key (str): Where its config takes that. Defaults to ``'model.teacher.checkpoint'``.
        seconds (float, optional): How long a training takes, for an estimate before any is done.
        is_teacher (bool): Whether it is trained first, and once. Set by :func:`read_matrix`.
    """

    name: str
    label: str
    config: str
    options: Mapping[str, str] = field(default_factory=dict)
    seeds: Sequence[int] = (0,)
    control: str | None = None
    teacher: str | None = None
    teacher_key: str = 'model.teacher.checkpoint'
    seconds: float | None = None
    is_teacher: bool = False


@dataclass(frozen=True)
class Matrix:
    """A matrix file.

    A Python config in MMEngine's form, so that rows may be written in a loop, and a longer
    schedule as a file whose ``_base_`` is the shorter one. Names with a leading underscore are its
    own.

    Args:
        name (str): The file's, without its ending.
        source (str): As it was given.
        title (str): Of the page.
        metrics (sequence of Metric): The first is what the page compares.
        rows (mapping): Name to row.
        teachers (mapping): Name to row, trained first. Defaults to none.
        prose (str): Markdown before the tables.
        notes (str): Markdown after them.
        amp (bool): Whether all train with ``--amp``.

    Example:
        >>> title = 'Digits'
        >>> metrics = [dict(key='accuracy/top1', label='top-1 (%)')]
        >>> seeds = [0, 1, 2]
        >>> options = {'train_cfg.max_epochs': 15}  # of all rows; a row's own come on top
        >>> teachers = dict(teacher=dict(label='Teacher', config='mmkd::demo/digits_teacher.py'))
        >>> rows = dict(
        ...     alone=dict(label='Student alone', config='mmkd::demo/digits_student.py'),
        ...     kd=dict(label='KD', config='mmkd::demo/digits_kd.py', teacher='teacher',
        ...             control='alone'))
    """

    name: str
    source: str
    title: str
    metrics: Sequence[Metric]
    rows: Mapping[str, Row]
    teachers: Mapping[str, Row] = field(default_factory=dict)
    prose: str = ''
    notes: str = ''
    amp: bool = False

    @property
    def all_rows(self) -> dict[str, Row]:
        """Teachers, then rows."""
        return {**self.teachers, **self.rows}


_TOP = ('title', 'metrics', 'seeds', 'options', 'teachers', 'rows', 'prose', 'notes', 'amp')
_ROW = tuple(f.name for f in fields(Row) if f.name not in ('name', 'is_teacher'))
_TEACHER = tuple(key for key in _ROW if key not in ('seeds', 'control'))
_METRIC = tuple(f.name for f in fields(Metric))


def _check_keys(found: Any, known: Sequence[str], needed: Sequence[str], where: str) -> None:
    if not isinstance(found, Mapping):
        raise ValueError(f'{where} is {found!r}, expected a dict with {", ".join(needed)}')
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1) or known
            raise ValueError(f'{where} has the key {key!r}; expected {" or ".join(near)}')
    for key in needed:
        if not found.get(key):
            raise ValueError(f'{where} has no {key}; give it one')


def _text(value: Any, where: str) -> str:
    """A value as ``--cfg-options`` reads it."""
    if isinstance(value, (list, tuple)):
        inner = ','.join(_text(item, where) for item in value)
        return f'[{inner}]' if isinstance(value, list) else f'({inner})'
    if isinstance(value, Mapping):
        raise ValueError(f"{where}={dict(value)!r}: name the keys inside it, as in 'key.subkey'")
    return str(value)


def _row(name: str, found: Any, where: str, shared: Mapping, is_teacher: bool) -> Row:
    _check_keys(found, _TEACHER if is_teacher else _ROW, ('label', 'config'), where)
    # A teacher is not the matrix's to shorten.
    options = {**({} if is_teacher else shared['options']), **found.get('options', {})}
    seeds = [0] if is_teacher else list(found.get('seeds', shared['seeds']))
    if (
        not seeds
        or len(set(seeds)) < len(seeds)
        or not all(type(seed) is int and seed >= 0 for seed in seeds)
    ):
        raise ValueError(f'{where}: seeds={seeds}, expected different whole numbers of 0 or more')
    return Row(
        **{
            **found,
            'name': name,
            'options': {k: _text(v, f'{where}.options {k}') for k, v in options.items()},
            'seeds': seeds,
            'is_teacher': is_teacher,
        }
    )


def read_matrix(source: str) -> Matrix:
    """Read a matrix file, and check it as far as that goes without the configs it names.

    Args:
        source (str): Its path, or ``'mmkd::benchmark/name.py'``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a key is missing, unknown, or names what is not there.
    """
    found = read_config(source, 'MATRIX').to_dict()
    found = {key: value for key, value in found.items() if not key.startswith('_')}
    _check_keys(found, _TOP, ('title', 'metrics', 'rows'), source)
    shared = dict(options=found.get('options', {}), seeds=found.get('seeds', [0]))
    for metric in found['metrics']:
        _check_keys(metric, _METRIC, ('key', 'label'), f'{source}: metrics')
    teachers, rows = (
        {
            name: _row(name, row, f'{source}: {kind}.{name}', shared, kind == 'teachers')
            for name, row in found.get(kind, {}).items()
        }
        for kind in ('teachers', 'rows')
    )
    for name in teachers.keys() & rows.keys():
        raise ValueError(f'{source}: {name} is a teacher and a row; rename one')
    for name, row in rows.items():
        for key, known in (('control', rows), ('teacher', teachers)):
            other = getattr(row, key)
            if other is not None and (other not in known or other == name):
                raise ValueError(
                    f'{source}: rows.{name}.{key}={other!r}; expected one of {sorted(known)}'
                )
    names = list(teachers)
    for index, (name, row) in enumerate(teachers.items()):
        if row.teacher is not None and row.teacher not in names[:index]:
            raise ValueError(
                f'{source}: teachers.{name}.teacher={row.teacher!r}; expected one before it, of '
                f'{names[:index]}'
            )
    return Matrix(
        name=Path(source.rpartition('::')[2]).stem,
        source=source,
        title=found['title'],
        metrics=[Metric(**metric) for metric in found['metrics']],
        rows=rows,
        teachers=teachers,
        prose=found.get('prose', ''),
        notes=found.get('notes', ''),
        amp=found.get('amp', False),
    )
