"""Whether classifiers know how sure they may be."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from .picture import Picture
from .study import Study

NUM_BINS = 15


def reliability(logits: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> dict[str, np.ndarray]:
    """Accuracy by confidence, in bins of the same width.

    Args:
        logits (Tensor): (N, K).
        labels (Tensor): (N, ).
        num_bins (int): B. Defaults to 15.

    Returns:
        dict[str, ndarray]: ``count``, mean ``confidence`` and ``accuracy`` of each bin, (B, ) each;
        the last two are NaN where it is empty.
    """
    confidence, predicted = logits.double().softmax(dim=1).max(dim=1)
    right = (predicted == labels).double()
    # Bins are open below, as in the paper.
    index = (confidence * num_bins).ceil().long().clamp(1, num_bins) - 1
    count = torch.bincount(index, minlength=num_bins)
    sums = [torch.bincount(index, values, num_bins) for values in (confidence, right)]
    mean_confidence, accuracy = ((total / count).numpy() for total in sums)
    return dict(count=count.numpy(), confidence=mean_confidence, accuracy=accuracy)


def expected_calibration_error(bins: dict[str, np.ndarray]) -> float:
    r"""How far confidence is from accuracy.

    .. math:: \sum_b \frac{n_b}{N} |acc(b) - conf(b)|

    Source: *On Calibration of Modern Neural Networks*, Guo et al., ICML 2017, eq. 3.

    Args:
        bins (dict): From :func:`reliability`.
    """
    gaps = np.nan_to_num(np.abs(bins['accuracy'] - bins['confidence']))
    return float((bins['count'] * gaps).sum() / bins['count'].sum())


def scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """``top1`` in percent, negative log-likelihood ``nll`` in nats, and ``ece`` in percent."""
    return dict(
        top1=100 * (logits.argmax(dim=1) == labels).double().mean().item(),
        nll=F.cross_entropy(logits.double(), labels).item(),
        ece=100 * expected_calibration_error(reliability(logits, labels)),
    )


def draw_calibration(study: Study) -> Picture:
    """Draw a reliability diagram of every classifier, above how many images have a confidence.

    Raises:
        ValueError: If the main network has no head.
    """
    networks = study.scored
    if not networks:
        raise ValueError(f'calibration needs logits, and {study.main.name} has no head')
    figure = Figure(figsize=(4 * len(networks), 4.6), layout='constrained')
    grid = figure.subplots(2, len(networks), squeeze=False, height_ratios=(3, 1), sharex=True)
    found = {}
    edges = np.arange(NUM_BINS) / NUM_BINS
    for (top, bottom), network in zip(grid.T, networks, strict=True):
        logits = study.outputs[network.name].logits
        bins = reliability(logits, study.labels)
        found[network.name] = scores(logits, study.labels)
        bar = dict(width=1 / NUM_BINS, align='edge', color=network.color)
        top.plot([0, 1], [0, 1], color='k', lw=1, ls=':')
        top.bar(edges, np.nan_to_num(bins['accuracy']), edgecolor='w', **bar)
        top.plot(bins['confidence'], bins['accuracy'], 'k.', ms=4)
        values = found[network.name]
        top.set_title(f'{network.name}\nNLL {values["nll"]:.3f}, ECE {values["ece"]:.1f} %')
        top.set(ylabel='accuracy', ylim=(0, 1))
        bottom.bar(edges, bins['count'] / len(study.labels), **bar)
        bottom.set(xlabel='confidence', ylabel='of the images', xlim=(0, 1), ylim=(0, 1))
    best = min(found, key=lambda name: found[name]['nll'])
    return Picture(
        'calibration',
        'Calibration',
        figure,
        'Accuracy of the images of a confidence, and how many have it; on the dotted line a '
        'network is as sure as it is right, below it too sure. NLL is the negative log-likelihood '
        f'of the labels, ECE how far confidence is from accuracy ({NUM_BINS} bins): lower is '
        f'better for both. The least NLL is that of {best}.',
        found,
    )
