"""Training curves from the scalars that MMEngine logs."""

from __future__ import annotations

import json
from pathlib import Path

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


def plot_scalar(axes: Axes, scalars: list[dict[str, float]], key: str, **line: object) -> None:
    """Draw one logged scalar over the steps it was logged at.

    Training scalars are logged at iterations, validation metrics at epochs (or iterations, in an
    iteration-based loop).

    Args:
        axes (Axes): Where to draw.
        scalars (list[dict[str, float]]): From :func:`read_scalars`.
        key (str): Name of the scalar, such as ``'loss'``.
        **line: As in :meth:`matplotlib.axes.Axes.plot`.

    Raises:
        KeyError: If it was not logged.
    """
    points = [(record['step'], record[key]) for record in scalars if key in record]
    if not points:
        names = sorted({name for record in scalars for name in record})
        raise KeyError(f'{key!r} was not logged; found {names}')
    axes.plot(*zip(*points, strict=True), **line)
