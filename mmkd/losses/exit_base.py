"""The base class of the objectives of networks with exits, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor

from .base import fp32

#: The network's own loss on the logits of any of its classifiers.
Classify = Callable[[Tensor], Tensor]


class ExitLoss(BaseModule):
    """The objective of one network with exits: logits and features of all classifiers in.

    Classifiers come from shallow to deep, the main one last. As with
    :class:`~mmkd.losses.DistillLoss`, the loss knows tensors and nothing else, and layers that only
    training needs live inside it.

    A subclass implements :meth:`forward`, and :meth:`build` where it compares features or has
    layers to make::

        @MODELS.register_module()
        class MyLoss(ExitLoss):

            def forward(self, logits, features, classify, shared=None):
                return named('cls', [classify(z) for z in logits])
    """

    def build(
        self, logits: Sequence[Tensor], features: Sequence[Tensor], shared: Tensor | None = None
    ) -> None:
        """Make layers and check shapes, once, before training, with tensors of a dummy batch.

        Args: see :meth:`forward`.

        Raises:
            ValueError: If the objective cannot be computed for such tensors.
        """

    def forward(
        self,
        logits: Sequence[Tensor],
        features: Sequence[Tensor],
        classify: Classify,
        shared: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the weighted terms by name, scalars in float32 also under autocast.

        Args:
            logits (sequence of Tensor): Of each classifier, (N, K).
            features (sequence of Tensor): The map that each classifier pools, (N, C_e, H_e, W_e).
            classify (Callable): The network's classification loss of logits, a scalar.
            shared (Tensor, optional): What was tapped at the objective's ``tap``.
        """
        raise NotImplementedError


def named(kind: str, losses: Sequence[Tensor]) -> dict[str, Tensor]:
    """Name the losses of all classifiers: ``loss_exit1_<kind>``, ..., ``loss_main_<kind>``."""
    names = [f'exit{index}' for index in range(1, len(losses))] + ['main']
    return {f'loss_{name}_{kind}': loss for name, loss in zip(names, losses, strict=True)}


def named_exits(kind: str, losses: Sequence[Tensor]) -> dict[str, Tensor]:
    """Name the losses of the exits, where the main classifier has none."""
    return {f'loss_exit{index}_{kind}': loss for index, loss in enumerate(losses, 1)}


def check_same_features(loss: str, features: Sequence[Any]) -> None:
    """Raise unless the features of all classifiers are tensors of the same shape.

    Args:
        loss (str): Name of the loss, for the message.
        features (sequence): From shallow to deep.

    Raises:
        ValueError: If one is no tensor, or they differ.
    """
    if not isinstance(features[-1], Tensor):
        raise ValueError(
            f'{loss} compares features of equal shape, found a {type(features[-1]).__name__} of '
            f'{len(features[-1])} for the main classifier; set student.feature_tap to one tensor, '
            "such as 'backbone[0][0]'"
        )
    found = [tuple(feature.shape[1:]) for feature in features]
    wrong = [f'exits[{index}] {shape}' for index, shape in enumerate(found) if shape != found[-1]]
    if wrong:
        raise ValueError(
            f'{loss} compares features of equal shape, found {", ".join(wrong)} and {found[-1]} '
            'for the main classifier; correct channels and strides of the exits, give images whose '
            "size the strides divide, or set student.feature_tap to the network's map that they "
            'match'
        )


@fp32
def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Sum of ``weights[e] * tensors[e]``, in float32."""
    return sum(weight * tensor for weight, tensor in zip(weights, tensors, strict=True))
