"""The base class of every distillation loss, and what the losses share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor

#: What a term hands to a loss: one tensor for one tap, a tuple or list for several.
Tapped = Tensor | Sequence[Tensor]


class DistillLoss(BaseModule):
    """A distillation loss: tapped tensors in, one scalar out.

    A loss knows tensors and nothing else: not where they came from, not which model is the student.
    Learnable adaptation layers live inside it, so they are trained and checkpointed with it and
    dropped with it at deployment.

    Args:
        loss_weight (float): Factor of the whole loss. Defaults to 1.0.
        init_cfg (dict, optional): As in :class:`mmengine.model.BaseModule`.

    A subclass implements :meth:`forward`, and :meth:`build` where it has layers to make::

        @MODELS.register_module()
        class MyLoss(DistillLoss):

            def forward(self, student, teacher, data_samples=None):
                return self.loss_weight * my_distance(student, teacher)
    """

    #: Whether ``forward`` reads annotations in the data samples.
    needs_labels = False
    #: Whether logits are compared by their softmax, which sigmoid scores of classes have not.
    needs_softmax = False

    def __init__(self, loss_weight: float = 1.0, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.loss_weight = loss_weight

    def build(self, student: Tapped, teacher: Tapped) -> None:
        """Make the adaptation layers and check shapes, once, before training.

        The distiller calls this at construction with the tensors that a forward of a small dummy
        image gives at the two taps. Channels are those of training; heights, widths and numbers of
        rows are not.

        Args:
            student (Tensor | sequence of Tensor): Student side of the term.
            teacher (Tensor | sequence of Tensor): Teacher side of the term.

        Raises:
            ValueError: If the two sides cannot be compared.
        """

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        """Return the weighted loss.

        Args:
            student (Tensor | sequence of Tensor): Student side, with gradient.
            teacher (Tensor | sequence of Tensor): Teacher side, detached.
            data_samples (list, optional): The batch's data samples.

        Returns:
            Tensor: Scalar, float32 (float64 for float64 inputs) also under autocast.
        """
        raise NotImplementedError


def upcast(value: Any) -> Any:
    """Half precision as float32, in lists and tuples too; all else as it is."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, (list, tuple)):
        return type(value)(upcast(item) for item in value)
    return value


def fp32(func: Callable) -> Callable:
    """Decorate the comparing part of a loss: half precision becomes float32, autocast is off.

    Adaptation layers stay outside and run in the precision of the model they belong to.
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        device = next(x.device for arg in args for x in as_list(arg) if isinstance(x, Tensor))
        with torch.autocast(device.type, enabled=False):
            return func(*upcast(args), **{k: upcast(v) for k, v in kwargs.items()})

    return wrapper


def as_list(value: Tapped) -> list[Tensor]:
    """One tensor as a list of one; a tuple or list as a list."""
    return [value] if isinstance(value, Tensor) else list(value)


def paired(student: Tapped, teacher: Tapped) -> list[tuple[Tensor, Tensor]]:
    """Pair the student's tensors with the teacher's, level by level.

    Raises:
        ValueError: If the two sides have different numbers of tensors, or not tensors only.
    """
    student, teacher = as_list(student), as_list(teacher)
    for item in (*student, *teacher):
        if not isinstance(item, Tensor):
            raise ValueError(
                f'a tap gives a {type(item).__name__} where the loss takes one tensor a level; '
                "tap one element, such as 'bbox_head[0]'"
            )
    if len(student) != len(teacher):
        raise ValueError(
            f'the student tap gives {len(student)} tensor(s) and the teacher tap {len(teacher)}; '
            'give both taps the same number of levels'
        )
    return list(zip(student, teacher, strict=True))


def check_same_shape(student: Tensor, teacher: Tensor, fix: str) -> None:
    """Raise if two tensors that will be compared entry by entry differ in shape.

    Args:
        student (Tensor): Student side.
        teacher (Tensor): Teacher side.
        fix (str): What the user can do about it; ends the message.

    Raises:
        ValueError: If the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f'student tensor {tuple(student.shape)} and teacher tensor {tuple(teacher.shape)} '
            f'differ in shape; {fix}'
        )
