"""A picture with what it shows, and the pixels of images."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from mmkd.distillers.teacher import normalization

_BOX = 'tab:orange'


@dataclass(frozen=True)
class Picture:
    """A figure, and a sentence or two on what it shows.

    Args:
        name (str): Of its file, without the ending.
        title (str): Heading.
        figure (Figure): The picture.
        caption (str): How to read it, and what was found.
        data (mapping): The numbers in it, as they are written to a JSON file.
    """

    name: str
    title: str
    figure: Figure
    caption: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        """Write the figure into a folder, and its numbers beside it; the picture's file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f'{self.name}.png'
        path.write_bytes(self.png)
        if self.data:
            path.with_suffix('.json').write_text(json.dumps(self.data, indent=1) + '\n')
        return path

    @cached_property
    def png(self) -> bytes:
        """The figure as a PNG file."""
        file = io.BytesIO()
        self.figure.savefig(file, dpi=110)
        return file.getvalue()


def draw_boxes(
    axes: Axes, boxes: np.ndarray, names: Sequence[str], color: str = _BOX, line: str = '-'
) -> None:
    """Draw boxes (N, 4), each with a name, over an image that is there; the first ones on top."""
    style = dict(fill=False, edgecolor=color, linestyle=line, lw=1.5)
    bottom, top = axes.get_ylim()
    # Above a box that is nearer to the top of the picture, its name would be over the title.
    highest = top + 0.04 * abs(top - bottom)
    for (x1, y1, x2, y2), name in reversed(list(zip(boxes.tolist(), names, strict=True))):
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))
        label = dict(facecolor='k', alpha=0.7, edgecolor='none', pad=1)
        place = 'top' if y1 < highest else 'bottom'
        axes.text(x1, y1, name, fontsize=7, color='w', va=place, bbox=label, clip_on=True)


def is_bgr(dataset: Any) -> bool:
    """Whether a data set gives blue first: OpenMMLab reads files so, its arrays are red first."""
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    return any(type(t).__name__.startswith('LoadImage') for t in transforms)


def pixels(image: Tensor, preprocessor: nn.Module, is_bgr: bool) -> Tensor:
    """An input (C, H, W) of a network as a picture (H, W, C) in [0, 1], red first."""
    mean, std, swaps = normalization(preprocessor)
    picture = (image.cpu() * std + mean) / 255
    if is_bgr != swaps:
        picture = picture.flip(0)
    return picture.clamp(0, 1).permute(1, 2, 0)
