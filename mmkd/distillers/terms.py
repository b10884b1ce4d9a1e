"""One term of a distillation objective: a loss, its two taps and when it is on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.logging import MessageHub
from mmengine.model import ModuleDict
from torch import Tensor

from mmkd.losses import DistillLoss
from mmkd.registry import MODELS

Paths = str | Sequence[str]


@dataclass(frozen=True)
class Term:
    """What a distiller knows of a term; the loss itself knows tensors only.

    Args:
        name (str): Key in ``losses``; logged as ``loss_<name>``.
        student (str | sequence of str): Tap or taps of the student.
        teacher (str | sequence of str): Tap or taps of the teacher.
        warmup (int): Length of the linear warm-up of the weight. Defaults to 0, none.
        by_epoch (bool): Whether ``warmup`` counts epochs or iterations. Defaults to True.
    """

    name: str
    student: Paths
    teacher: Paths
    warmup: int = 0
    by_epoch: bool = True

    @property
    def key(self) -> str:
        """The name under which the term is logged."""
        return f'loss_{self.name}'

    def factor(self) -> float:
        """Weight factor of the warm-up, ``min(1, (progress + 1) / warmup)``.

        Progress is read off MMEngine's message hub, where the runner writes it and resume restores
        it.

        Raises:
            ValueError: If a warm-up in epochs is longer than the run, as it is in every
                iteration-based loop, whose epoch never advances.
        """
        if not self.warmup:
            return 1.0
        hub = MessageHub.get_current_instance()
        if self.by_epoch and self.warmup > hub.get_info('max_epochs', self.warmup):
            raise ValueError(
                f'losses.{self.name}.warmup={self.warmup} epochs, but the run has max_epochs='
                f'{hub.get_info("max_epochs")}; in an iteration-based loop set by_epoch=False and '
                'give warmup in iterations'
            )
        progress = hub.get_info('epoch' if self.by_epoch else 'iter', 0)
        return min(1.0, (progress + 1) / self.warmup)


def paths_of(tapped: Paths) -> list[str]:
    """One path as a list of one, several as a list."""
    return [tapped] if isinstance(tapped, str) else list(tapped)


def read(record: Mapping[str, Any] | Callable[[str], Any], tapped: Paths) -> Any:
    """Read one tap as what it gave, several as a list."""
    get = record if callable(record) else record.__getitem__
    return get(tapped) if isinstance(tapped, str) else [get(path) for path in tapped]


def build_terms(losses: dict[str, dict]) -> tuple[list[Term], ModuleDict]:
    """Split the ``losses`` of a distiller's config into terms and loss modules.

    Args:
        losses (dict[str, dict]): Name to loss config with ``student`` and ``teacher`` taps and,
            optionally, ``warmup`` and ``by_epoch``.

    Raises:
        ValueError: If a tap is missing or a schedule is not understood.
        TypeError: If the type is no :class:`DistillLoss` or an argument is unknown to it.
    """
    terms, modules = [], ModuleDict()
    for name, cfg in losses.items():
        cfg = dict(cfg)
        for side in ('student', 'teacher'):
            if not cfg.get(side):
                raise ValueError(
                    f'losses.{name}.{side} is missing: give the tap, such as '
                    f"{side}='backbone.layer2'"
                )
        schedule = {key: cfg.pop(key) for key in ('warmup', 'by_epoch') if key in cfg}
        terms.append(Term(name, cfg.pop('student'), cfg.pop('teacher'), **schedule))
        if terms[-1].warmup < 0:
            raise ValueError(f'losses.{name}.warmup must not be negative, found {schedule}')
        try:
            loss = MODELS.build({'_scope_': 'mmkd', **cfg})
        except TypeError as error:
            raise TypeError(f'losses.{name}: {error}') from error
        if not isinstance(loss, DistillLoss):
            raise TypeError(
                f'losses.{name}.type={cfg["type"]!r} is a {type(loss).__name__}, expected a '
                'subclass of mmkd.losses.DistillLoss'
            )
        modules[name] = loss
    return terms, modules


def shapes(value: Any) -> str:
    """Describe tapped values for messages."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(shapes(item) for item in value)}]'
    return type(value).__name__
