"""When a loss is on, and how its weight grows."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from mmengine.logging import MessageHub


def _linear(done: int, length: int) -> float:
    return min(1.0, (done + 1) / length)


def _sigmoid(done: int, length: int) -> float:
    return math.exp(-5 * (1 - min(1.0, done / length)) ** 2)


#: Factor of the weight by how many epochs or iterations of the warm-up are over.
_RAMPS: dict[str, Callable[[int, int], float]] = {'linear': _linear, 'sigmoid': _sigmoid}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a loss is on, and the warm-up of its weight.

    Args:
        begin (int): Progress at which the loss is switched on. Defaults to 0.
        end (int, optional): Progress at which it is switched off again. Defaults to None, never.
        warmup (int): Length of the warm-up of the weight, from ``begin``. Defaults to 0, none.
        ramp (str): Form of the warm-up, with d of its n epochs or iterations over: ``'linear'``,
            (d + 1) / n, or ``'sigmoid'``, exp(-5 (1 - d / n)^2), of *Temporal Ensembling for
            Semi-Supervised Learning*, Laine and Aila, ICLR 2017. Defaults to ``'linear'``.
        by_epoch (bool): Whether ``begin``, ``end`` and ``warmup`` count epochs or iterations.
            Defaults to True.

    Raises:
        ValueError: If a time is negative, the end before the begin, or the ramp unknown.
    """

    begin: int = 0
    end: int | None = None
    warmup: int = 0
    ramp: str = 'linear'
    by_epoch: bool = True

    @property
    @abstractmethod
    def where(self) -> str:
        """Where the schedule is in the config, for messages."""

    def __post_init__(self) -> None:
        for key in ('begin', 'end', 'warmup'):
            value = getattr(self, key)
            if value is not None and value < 0:
                raise ValueError(f'{self.where}.{key} must not be negative, found {value}')
        if self.end is not None and self.end < self.begin:
            raise ValueError(f'{self.where}.end={self.end} lies before begin={self.begin}')
        if self.ramp not in _RAMPS:
            raise ValueError(f'{self.where}.ramp={self.ramp!r}, expected one of {list(_RAMPS)}')

    @property
    def varies(self) -> bool:
        """Whether the weight is another at some time of a run."""
        return bool(self.begin or self.warmup or self.end is not None)

    @torch.compiler.disable
    def factor(self) -> float:
        """Weight factor of the loss now; 0 outside of [begin, end).

        Progress is read off MMEngine's message hub, where the runner writes it and resume restores
        it.

        Raises:
            ValueError: If the loss begins when the run is over, or a time in epochs is longer than
                the run, as it is in every iteration-based loop, whose epoch never advances.
        """
        hub = MessageHub.get_current_instance()
        unit = 'epoch' if self.by_epoch else 'iter'
        length = hub.get_info(f'max_{unit}s', math.inf)
        for key in ('begin', 'end', 'warmup'):
            time = getattr(self, key) or 0
            # What begins when the run ends never begins.
            too_late = time >= length if key == 'begin' else self.by_epoch and time > length
            if time and too_late:
                raise ValueError(
                    f'{self.where}.{key}={time} {unit}s, but the run has max_{unit}s={length}; '
                    'give a time within the run or, in an iteration-based loop, set '
                    f'by_epoch=False and give {key} in iterations'
                )
        progress = hub.get_info(unit, 0) - self.begin
        if progress < 0 or (self.end is not None and progress >= self.end - self.begin):
            return 0.0
        return _RAMPS[self.ramp](progress, self.warmup) if self.warmup else 1.0


#: What a schedule takes of a config.
FIELDS = tuple(field.name for field in fields(Schedule))
