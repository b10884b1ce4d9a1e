"""Tapped tokens as maps and maps as tokens, to compare transformers with convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from mmkd.build import check_arguments, is_shape

#: Class, distillation and register tokens that transformers put before those of the image: none,
#: one, DeiT's two, one with DINOv2's four registers.
_EXTRA_TOKENS = (0, 1, 2, 5)


@dataclass(frozen=True)
class View:
    """A tap and the form in which a loss is to see what it gives.

    Tokens (N, L, C) are a map (N, C, h, w) whose pixels are listed row by row, behind the class
    token and others that have no place in the image. What a module that runs several times gives,
    a list, is converted entry by entry; of the tokens and (h, w) that mmpretrain's Swin gives, both
    are used.

    Args:
        tap (str): The tap (:class:`~mmkd.taps.Tap`).
        to (str): ``'map'`` or ``'tokens'``.
        size (int or tuple[int], optional): Height and width that the map is resized to, bilinearly,
            also before it becomes tokens. Defaults to None, left as it is.
        grid (tuple[int], optional): The (h, w) of the tokens. Defaults to None: of the module, or
            the only square that L without 0, 1, 2 or 5 leading tokens is.

    Raises:
        ValueError: If ``to`` is another word, or a size is none.
    """

    tap: str
    to: str
    size: int | Sequence[int] | None = None
    grid: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.to not in ('map', 'tokens'):
            raise ValueError(f"to={self.to!r}, expected 'map' or 'tokens'")
        for name in ('size', 'grid'):
            value = getattr(self, name)
            value = (value, value) if name == 'size' and isinstance(value, int) else value
            if value is None:
                continue
            if not is_shape(value, 2):
                raise ValueError(f'{name}={value!r}, expected a height and a width, such as (7, 7)')
            # Past the frozen dataclass.
            object.__setattr__(self, name, tuple(value))

    def __repr__(self) -> str:
        given = {name: value for name, value in vars(self).items() if value is not None}
        return f'dict({", ".join(f"{name}={value!r}" for name, value in given.items())})'

    def __call__(self, value: Any) -> Any:
        """Convert what was tapped.

        Args:
            value (Tensor or list): Map (N, C, H, W), tokens (N, L, C), tokens and their (h, w), or
                a list of these.

        Raises:
            ValueError: If it is none of these, or the tokens are of no known grid.
        """
        if isinstance(value, Tensor):
            return self._one(value, self.grid)
        if _is_with_grid(value):
            return self._one(value[0], self.grid or tuple(value[1]))
        if isinstance(value, (list, tuple)):
            return [self(item) for item in value]
        raise ValueError(
            f'tap {self.tap!r} gives a {type(value).__name__}, of which there is no {self.to}; tap '
            'a module that gives a map (N, C, H, W) or tokens (N, L, C)'
        )

    def _one(self, value: Tensor, grid: tuple[int, int] | None) -> Tensor:
        if value.ndim == 3:
            value = self._to_map(value, grid)
        elif value.ndim != 4:
            raise ValueError(
                f'tap {self.tap!r} gives {tuple(value.shape)}, expected a map (N, C, H, W) or '
                'tokens (N, L, C); tap an earlier module'
            )
        if self.size is not None and tuple(value.shape[2:]) != self.size:
            value = F.interpolate(value, self.size, mode='bilinear', align_corners=False)
        return value if self.to == 'map' else value.flatten(2).transpose(1, 2)

    def _to_map(self, tokens: Tensor, grid: tuple[int, int] | None) -> Tensor:
        count = tokens.shape[1]
        if grid is None:
            sides = [math.isqrt(count - extra) for extra in _EXTRA_TOKENS if count > extra]
            squares = [s for s, e in zip(sides, _EXTRA_TOKENS, strict=False) if s * s == count - e]
            if len(squares) != 1:
                found = ' and '.join(f'{s}x{s}' for s in squares) or 'no square'
                raise ValueError(
                    f'tap {self.tap!r} gives {count} tokens, which could be {found} behind '
                    f'{", ".join(map(str, _EXTRA_TOKENS))} others; give grid=(h, w) beside the tap'
                )
            grid = squares * 2
        height, width = grid
        if height * width > count:
            raise ValueError(
                f'tap {self.tap!r} gives {count} tokens, too few for grid={tuple(grid)}; give '
                'height and width in patches'
            )
        image = tokens[:, count - height * width :]
        return image.transpose(1, 2).unflatten(2, (height, width))


def _is_with_grid(value: Any) -> bool:
    """Whether it is what a stage of mmpretrain's Swin gives."""
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and isinstance(value[0], Tensor)
        and isinstance(value[1], (tuple, list))
        and all(isinstance(n, int) for n in value[1])
    )


#: One tap, or several, each by its path or as a view.
Side = str | View | Sequence[str | View]


def parse_side(key: str, side: Any) -> Any:
    """Make views of the dicts in one side of a term's config; the rest is left as it is.

    Args:
        key (str): Where the side is in the config, such as ``'losses.kd.student'``.
        side (str, dict or sequence of these): What the config has there.

    Raises:
        TypeError: If a view has an unknown argument, or one is missing.
        ValueError: If a view cannot be.
    """
    if isinstance(side, Mapping):
        check_arguments(key, View, side)
        if not {'tap', 'to'} <= side.keys():
            raise TypeError(
                f"{key}={dict(side)!r}, expected a tap or dict(tap='backbone.ln1', to='map')"
            )
        try:
            return View(**side)
        except ValueError as error:
            raise ValueError(f'{key}: {error}') from error
    if isinstance(side, Sequence) and not isinstance(side, str):
        return [parse_side(f'{key}[{index}]', item) for index, item in enumerate(side)]
    return side


def paths_of(side: Side) -> list[str]:
    """The taps of one side of a term, as a list."""
    if isinstance(side, (str, View)):
        return [side.tap if isinstance(side, View) else side]
    return [path for item in side for path in paths_of(item)]


def read(record: Mapping[str, Any] | Callable[[str], Any], side: Side) -> Any:
    """Read one tap as what it gave or its view of that, several as a list."""
    if isinstance(side, View):
        return side(read(record, side.tap))
    if isinstance(side, str):
        return record(side) if callable(record) else record[side]
    return [read(record, item) for item in side]
