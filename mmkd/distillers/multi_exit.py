"""One network teaches itself through its exits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mmkd.build import build, check_arguments, check_config
from mmkd.losses import ExitLoss
from mmkd.models.multi_exit import MAIN, MultiExitClassifier, Outputs
from mmkd.modes import evaluating
from mmkd.registry import MODELS
from mmkd.taps import Taps

from .base import BaseDistiller
from .schedule import Schedule

_EXAMPLE = "objective=dict(type='mmkd.BEEDLoss')"


@dataclass(frozen=True)
class ExitSchedule(Schedule):
    """When the terms of a kind are on.

    Args:
        kind (str): The end of the terms' names.
        kwargs: See :class:`Schedule`.
    """

    kind: str

    @property
    def where(self) -> str:
        return f'model.objective.schedules.{self.kind}'


def _schedules(cfg: Mapping[str, dict]) -> list[ExitSchedule]:
    """Build the schedules of an objective's config.

    Raises:
        TypeError: If one is no dict, or a time no integer.
        ValueError: If one cannot be.
    """
    schedules = []
    for kind, times in cfg.items():
        key = f'model.objective.schedules.{kind}'
        if not isinstance(times, Mapping):
            raise TypeError(f'{key}={times!r} is no dict: give {kind}=dict(warmup=80)')
        check_arguments(key, Schedule, times)
        schedules.append(ExitSchedule(kind, **times))
    return schedules


@MODELS.register_module()
class MultiExitDistiller(BaseDistiller):
    """Train a network and its exits with one objective over all of them.

    Args:
        student (dict): Config of a :class:`~mmkd.models.MultiExitClassifier`.
        objective (dict): Config of an :class:`~mmkd.losses.ExitLoss` and, for one that
            reads a feature which the exits share, ``tap``, its path in ``student.model``
            (:class:`~mmkd.taps.Tap`); also ``schedules``, which says for kinds of terms when they
            are on (:class:`~mmkd.distillers.schedule.Schedule`): ``kd`` is the kind of
            ``loss_exit1_kd`` and ``loss_main_kd``.
        data_preprocessor (dict, optional): See :class:`BaseDistiller`.

    Raises:
        TypeError: If the student has no exits by type, or the objective is no ``ExitLoss`` or does
            not know an argument.
        ValueError: If there is no exit, a schedule cannot be, the tap names no module, or the
            objective cannot be computed for what the classifiers give.

    Example:
        >>> model = dict(
        ...     type='mmkd.MultiExitDistiller',
        ...     student=dict(type='mmkd.MultiExitClassifier', model=dict(...), exits=[...]),
        ...     objective=dict(type='mmkd.BEEDLoss'))
    """

    def __init__(
        self, student: dict, objective: dict, data_preprocessor: dict | None = None
    ) -> None:
        super().__init__(student, data_preprocessor)
        if not isinstance(self.student, MultiExitClassifier):
            raise TypeError(
                f'model.student.type={student["type"]!r}; expected mmkd.MultiExitClassifier, with '
                'the network as its `model`'
            )
        if not self.student.exits:
            raise ValueError('model.student.exits is empty; without exits there is no teacher')
        check_config('model.objective', objective, _EXAMPLE)
        objective = dict(objective)
        self.tap = objective.pop('tap', None)
        self.schedules = _schedules(objective.pop('schedules', {}))
        self.objective = build('model.objective', objective, ExitLoss, _EXAMPLE)
        self._build_objective()

    @classmethod
    def output_names(cls, model: dict) -> list[str]:
        return [MAIN]

    @torch.no_grad()
    def _build_objective(self) -> None:
        """Let the objective see the shapes it will get, in a forward of a dummy batch."""
        with evaluating(self.student):
            outputs, shared = self._outputs(torch.zeros(2, *self.student.input_shape))
        try:
            self.objective.build(outputs.logits, outputs.features, shared)
        except ValueError as error:
            raise ValueError(f'model.objective: {error}') from error
        if self.schedules:
            with evaluating(self.objective):
                names = self.objective(outputs.logits, outputs.features, torch.sum, shared)
            kinds = sorted({name.rpartition('_')[2] for name in names})
            for schedule in self.schedules:
                if schedule.kind not in kinds:
                    raise ValueError(
                        f'{schedule.where} is for no term of {type(self.objective).__name__}, '
                        f'whose kinds are {", ".join(kinds)}'
                    )

    def _outputs(self, inputs: Tensor) -> tuple[Outputs, Tensor | None]:
        """Logits and features of all classifiers, and what was tapped for the objective."""
        if self.tap is None:
            return self.student.outputs(inputs), None
        with Taps(self.student.model, [self.tap]) as record:
            outputs = self.student.outputs(inputs)
        return outputs, record[self.tap]

    def scheduled_weights(self) -> dict[str, float]:
        """The factor of the weights of each kind of terms that has a schedule, by the kind."""
        return {schedule.kind: schedule.factor() for schedule in self.schedules}

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Return the objective's terms."""
        outputs, shared = self._outputs(inputs)
        classify = partial(self.student.classification_loss, data_samples=data_samples)
        losses = self.objective(outputs.logits, outputs.features, classify, shared)
        for schedule in self.schedules:
            factor, suffix = schedule.factor(), f'_{schedule.kind}'
            losses.update({k: factor * v for k, v in losses.items() if k.endswith(suffix)})
        return losses
