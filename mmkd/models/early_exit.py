"""Inference that stops at the first confident exit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mmkd.taps import Taps


class WithExits(Protocol):
    """A classifier ``model`` and ``exits`` that start at its ``taps``, one each."""

    model: nn.Module
    exits: Sequence[nn.Module]
    taps: Sequence[str]


class _AllLeft(BaseException):
    """Ends the forward of a network that no sample is in any more."""


class _Leaving(Taps):
    """Run each exit when its tap is reached, and let the confident samples leave there."""

    def __init__(self, network: WithExits, thresholds: Sequence[float]) -> None:
        super().__init__(network.model, network.taps)
        self.network, self.thresholds = network, thresholds
        self.logits = self.taken = None

    def _keep(self, path: str, value: Any) -> None:
        super()._keep(path, value)
        for index, tap in enumerate(self.network.taps):
            if tap == path:
                self.offer(index, self.network.exits[index](self[path])[1])

    def offer(self, index: int, logits: Tensor) -> None:
        """Let those samples leave by classifier ``index`` that are still there and confident."""
        if self.taken is None:
            self.logits = torch.zeros_like(logits)
            self.taken = logits.new_full((len(logits),), -1, dtype=torch.long)
        confidence = logits.softmax(dim=1).amax(dim=1)
        leaving = (self.taken < 0) & (confidence >= self.thresholds[index])
        self.logits[leaving], self.taken[leaving] = logits[leaving], index
        if (self.taken >= 0).all():
            raise _AllLeft


def early_exit(
    network: WithExits, inputs: Tensor, thresholds: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Classify each sample by the first exit that is confident enough, the main one at the latest.

    The confidence is the largest class probability. The network stops when the last sample of the
    batch has left; the samples that left before are computed on with it, so that batches of one are
    what saves most.

    *Multi-Scale Dense Networks for Resource Efficient Image Classification*, Huang et al., ICLR
    2018, section 5 (budgeted batch classification).

    Args:
        network (MultiExitClassifier): The network, in ``eval()``.
        inputs (Tensor): Normalised batch, (N, C, H, W).
        thresholds (sequence of float): The confidence to leave by each exit; above 1 never.

    Returns:
        tuple[Tensor, Tensor]: Logits, (N, num_classes), and index of the classifier that gave them,
        (N, ), the main one having the last.
    """
    with _Leaving(network, [*thresholds, 0.0]) as leaving, suppress(_AllLeft):
        leaving.offer(len(network.exits), network.model(inputs, mode='tensor'))
    return leaving.logits, leaving.taken
