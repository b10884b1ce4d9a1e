"""Training curves from the scalars that MMEngine logs, and bars of what came out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


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


def draw_curves(
    runs: Mapping[str, Sequence[Sequence[dict]]], metric: str, colors: Mapping[str, str]
) -> Figure:
    """Draw a metric and training losses as the mean over runs in a band of their range.

    The losses of ``'teacher'`` are left out: they are others.

    Args:
        runs (mapping): Name to the scalars of each run (:func:`read_scalars`), all with the metric.
        metric (str): Name of the metric.
        colors (mapping): Colour of the metric's curve by name.
    """
    figure = Figure(figsize=(12, 4.5), layout='constrained')
    left, right = figure.subplots(1, 2)
    loss_colors: dict[str, str] = {}
    for name, style in zip(runs, ('-', '--', ':', '-.') * len(runs), strict=False):
        plot_runs(left, runs[name], metric, label=name, color=colors[name], ls=style, marker='.')
        if name == 'teacher':
            continue
        losses = {key for record in runs[name][0] for key in record if 'loss' in key}
        for key in sorted(losses):
            color = loss_colors.setdefault(key, f'C{len(loss_colors)}')
            plot_runs(right, runs[name], key, label=f'{key} ({name})', ls=style, color=color)
    left.set(xlabel='epoch', ylabel=metric, title='Test split')
    right.set(xlabel='iteration', yscale='log', title='Training losses, weighted as in the config')
    left.legend()
    right.legend(fontsize='small', loc='upper left', bbox_to_anchor=(1, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return figure


def draw_bars(
    results: Mapping[str, Mapping[str, Sequence[float]]], colors: Mapping[str, str]
) -> Figure:
    """Draw the mean of every role with its range over seeds.

    Args:
        results (mapping): Label to role to values, one a seed.
        colors (mapping): Role to colour.
    """
    figure = Figure(figsize=(4 * len(results), 4), layout='constrained')
    row = figure.subplots(1, len(results), squeeze=False)[0]
    for axes, (label, metrics) in zip(row, results.items(), strict=True):
        means, least, most = (
            np.array([function(values) for values in metrics.values()])
            for function in (np.mean, min, max)
        )
        errors = [means - least, most - means]
        bars = axes.bar(
            list(metrics), means, yerr=errors, capsize=6, color=[colors[role] for role in metrics]
        )
        axes.bar_label(bars, fmt='%.1f', padding=2)
        axes.set(title=label, ylim=(max(0, 1.5 * least.min() - 50), None))
        axes.spines[['top', 'right']].set_visible(False)
    figure.supxlabel('mean and range over seeds', fontsize='small')
    return figure
