"""Training curves from the scalars that MMEngine logs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes


def read_scalars(work_dir: str | Path) -> list[dict[str, float]]:
    """Read what the newest run in a work directory logged.

    Args:
        work_dir (str | Path): As given to the runner.

    Returns:
        list[dict[str, float]]: The records of ``vis_data/scalars.json`` in their order.

    Raises:
        FileNotFoundError: If no run logged anything there.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(
            f'found no <timestamp>/vis_data/scalars.json in {str(work_dir)!r}; give the work '
            "directory of a training whose config keeps the visualizer's LocalVisBackend"
        )
    return [json.loads(line) for line in files[-1].read_text().splitlines()]


def scalar(scalars: Sequence[dict[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one logged scalar.

    Training scalars are logged at iterations, validation metrics at epochs (or iterations, in an
    iteration-based loop).

    Args:
        scalars (sequence of dict): From :func:`read_scalars`.
        key (str): Name of the scalar, such as ``'loss'``.

    Returns:
        tuple[ndarray, ndarray]: Steps and values, (N, ) each.

    Raises:
        KeyError: If it was not logged.
    """
    points = [(record['step'], record[key]) for record in scalars if key in record]
    if not points:
        names = sorted({name for record in scalars for name in record})
        raise KeyError(f'{key!r} was not logged; found {names}')
    steps, values = np.array(points).T
    return steps, values


def plot_runs(
    axes: Axes, runs: Sequence[Sequence[dict[str, float]]], key: str, **line: Any
) -> None:
    """Draw the mean of one scalar over runs of the same length, in a band from least to largest.

    Args:
        axes (Axes): Where to draw.
        runs (sequence of sequences of dict): The scalars of each run, from :func:`read_scalars`.
        key (str): Name of the scalar.
        **line: As in :meth:`matplotlib.axes.Axes.plot`.

    Raises:
        KeyError: If a run did not log it.
        ValueError: If the runs logged it at different steps.
    """
    found = [scalar(run, key) for run in runs]
    steps = found[0][0]
    if any(not np.array_equal(steps, other) for other, _ in found):
        raise ValueError(f'{key!r} was logged at different steps; give runs of the same schedule')
    values = np.array([values for _, values in found])
    (mean,) = axes.plot(steps, values.mean(axis=0), **line)
    axes.fill_between(
        steps, values.min(axis=0), values.max(axis=0), color=mean.get_color(), alpha=0.2, lw=0
    )
