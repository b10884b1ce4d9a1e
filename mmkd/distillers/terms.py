"""One term of a distillation objective: a loss, its two taps and when it is on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.model import ModuleDict
from mmpretrain.models.heads import MultiLabelClsHead
from torch import Tensor, nn

from mmkd.build import build, check_arguments, check_config
from mmkd.losses import DistillLoss
from mmkd.taps import parse

from .schedule import FIELDS, Schedule
from .views import Side, View, parse_side, paths_of

_EXAMPLE = "kd=dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc')"

#: Where the message hub, and so a checkpoint, keeps the terms that a phase before training had.
_PRETRAINED = 'pretrained_terms'


@dataclass(frozen=True)
class Term(Schedule):
    """What a distiller knows of a term; the loss itself knows tensors only.

    Args:
        name (str): Key in ``losses``; logged as ``loss_<name>``.
        student (str, View or sequence of these): Tap or taps of the student.
        teacher (str, View or sequence of these): Tap or taps of the teacher.
        kwargs: When the term is on (:class:`Schedule`); ``end=0`` for a term of the pre-training
            phase alone (:class:`~mmkd.engine.hooks.PretrainHook`).
    """

    name: str
    student: Side
    teacher: Side

    def __post_init__(self) -> None:
        for side in ('student', 'teacher'):
            paths = getattr(self, side)
            found = paths_of(paths) if _are_taps(paths) else []
            if not found or not all(found):
                found = 'is missing' if paths is None else f'is {paths!r}'
                raise ValueError(
                    f'{self.where}.{side} {found}, expected a tap or a list of taps, such as '
                    f"{side}='backbone.layer2'"
                )
        super().__post_init__()

    @property
    def where(self) -> str:
        return f'losses.{self.name}'

    @property
    def key(self) -> str:
        """The name under which the term is logged."""
        return f'loss_{self.name}'

    @torch.compiler.disable
    def factor(self) -> float:
        """As :meth:`Schedule.factor`.

        Raises:
            ValueError: Also if the term is for a pre-training phase alone and there was none.
        """
        factor = super().factor()
        hub = MessageHub.get_current_instance()
        if self.end == 0 and self.name not in hub.get_info(_PRETRAINED, ()):
            raise ValueError(
                f'{self.where}.end=0 leaves the term to a phase before training, and there '
                f"was none: add custom_hooks=[dict(type='mmkd.PretrainHook', "
                f'losses=[{self.name!r}], length=...)], or remove end'
            )
        return factor


def _are_taps(side: Any) -> bool:
    if isinstance(side, Sequence) and not isinstance(side, str):
        return all(isinstance(item, (str, View)) for item in side)
    return isinstance(side, (str, View))


#: What a term takes of its config; the rest is the loss's.
_FIELDS = ('student', 'teacher', *FIELDS)


def note_pretraining(names: Sequence[str]) -> None:
    """Remember that these terms had a phase before training."""
    hub = MessageHub.get_current_instance()
    hub.update_info(_PRETRAINED, sorted({*hub.get_info(_PRETRAINED, ()), *names}))


def build_terms(losses: dict[str, dict]) -> tuple[list[Term], ModuleDict]:
    """Split the ``losses`` of a distiller's config into terms and loss modules.

    Args:
        losses (dict[str, dict]): Name to loss config with ``student`` and ``teacher`` taps, each a
            path or the arguments of a :class:`View`, and, optionally, what a :class:`Schedule`
            takes.

    Raises:
        ValueError: If a name, a tap, a number or a schedule is not understood.
        TypeError: If a term is no dict, its type no :class:`DistillLoss`, or an argument is unknown
            or of another type.
    """
    if not isinstance(losses, Mapping):
        raise TypeError(
            f'model.losses={losses!r} is a {type(losses).__name__}, expected a dict of terms by '
            f'name: {_EXAMPLE}'
        )
    terms, modules = [], ModuleDict()
    for name, cfg in losses.items():
        if not isinstance(name, str) or not name.isidentifier() or hasattr(ModuleDict(), name):
            raise ValueError(
                f'model.losses has a term called {name!r}, which cannot be an attribute of a '
                f'ModuleDict; give it another name, such as {_EXAMPLE}'
            )
        key = f'losses.{name}'
        check_config(key, cfg, _EXAMPLE)
        schedule = {field: cfg[field] for field in _FIELDS if field in cfg}
        sides = {
            side: parse_side(f'{key}.{side}', schedule.pop(side, None))
            for side in ('student', 'teacher')
        }
        check_arguments(key, Term, schedule)
        terms.append(Term(name, **sides, **schedule))
        loss = {field: value for field, value in cfg.items() if field not in _FIELDS}
        modules[name] = build(key, loss, DistillLoss, _EXAMPLE)
    return terms, modules


def shapes(value: Any) -> str:
    """Describe tapped values for messages."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(shapes(item) for item in value)}]'
    return type(value).__name__


def detach(value: Any) -> Any:
    """Tapped values without their graph."""
    if isinstance(value, (list, tuple)):
        return [detach(item) for item in value]
    return value.detach() if isinstance(value, Tensor) else value


def why_no_gradient(model: nn.Module, path: str) -> str:
    """Say why a tensor that was tapped in a network being trained requires no gradient."""
    module = parse(path).module
    names = ['.'.join(module.split('.')[:n]) for n in range(module.count('.') + 1, 0, -1)]
    for name in names:
        parameters = list(model.get_submodule(name).parameters())
        if parameters:
            if not any(p.requires_grad for p in parameters):
                return (
                    f'{name!r} is frozen, as is all before it; tap a later module, or unfreeze it '
                    '(frozen_stages, requires_grad)'
                )
            break
    for name in names[1:]:
        if getattr(model.get_submodule(name), 'with_cp', False) is True:
            return (
                f'{name!r} has with_cp=True and computes what lies in it again in the backward; '
                f'set with_cp=False, or tap the output of a whole block'
            )
    return 'it was computed without gradient or detached; tap what the student learns by'


def without_softmax(model: nn.Module, path: str) -> nn.Module | None:
    """The head around a tap that does not score classes by a softmax, if there is one.

    Args:
        model (nn.Module): The network.
        path (str): The tap.
    """
    names = parse(path).module.split('.')
    for end in range(1, len(names) + 1):
        owner = model.get_submodule('.'.join(names[:end]))
        # mmpretrain's other heads take the argmax also where they learn by sigmoids.
        if isinstance(owner, MultiLabelClsHead):
            return owner
        loss = getattr(owner, 'loss_cls', None)
        # Of SeesawLoss the last two logits are those of an object.
        if getattr(loss, 'use_sigmoid', False) or getattr(loss, 'custom_activation', False):
            return owner
    return None


def check_softmax(loss: nn.Module, side: str, model: nn.Module, path: str) -> None:
    """Raise for a tap in a head whose logits a loss of softmax scores cannot compare.

    Args:
        loss (nn.Module): The loss, for the message.
        side (str): ``'student'`` or ``'teacher'``, for the message.
        model (nn.Module): The network.
        path (str): The tap.

    Raises:
        ValueError: If it is such a tap.
    """
    head = without_softmax(model, path)
    if head is not None:
        raise ValueError(
            f'the {side} tap {path!r} lies in a {type(head).__name__}, whose scores are no softmax '
            f'of its logits, as {type(loss).__name__} takes them to be; compare features, such as '
            'with HintLoss, or write a loss of these scores'
        )
