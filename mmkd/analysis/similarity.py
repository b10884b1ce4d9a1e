"""Which layers of two networks see alike: linear CKA."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from .picture import Picture
from .study import Network, Study

#: Maps are averaged to at most this height and width.
_GRID = 8


def linear_cka(first: Tensor, second: Tensor) -> float:
    r"""Linear centred kernel alignment of two representations of the same images.

    .. math:: \frac{\|Y^T X\|_F^2}{\|X^T X\|_F \, \|Y^T Y\|_F}

    with centred columns: 1 if they agree up to rotation and scale, 0 if nothing of one is linear
    in the other. Source: *Similarity of Neural Network Representations Revisited*, Kornblith et
    al., ICML 2019, section 3.

    Args:
        first (Tensor): (N, C).
        second (Tensor): (N, D).
    """
    return _alignment(_gram(first), _gram(second))


def _gram(features: Tensor) -> Tensor:
    """Inner products of centred rows, (N, N): the same norms, and small where N is."""
    features = features.double()
    features = features - features.mean(dim=0)
    return features @ features.T


def _alignment(first: Tensor, second: Tensor) -> float:
    norm = (first.norm() * second.norm()).item()
    return (first * second).sum().item() / norm if norm else 0.0


def _vectors(value: Any) -> Tensor:
    """What a layer gives as a vector an image, (N, C)."""
    value = value[0] if isinstance(value, (tuple, list)) else value
    if value.ndim == 4 and max(value.shape[2:]) > _GRID:
        value = F.adaptive_avg_pool2d(value, _GRID)
    return value.float().flatten(1).cpu()


def _batches(study: Study, num_images: int) -> Iterator[dict]:
    count, size = len(study.loader.dataset), study.loader.batch_size
    indices = torch.linspace(0, count - 1, num_images).long().tolist()
    for start in range(0, num_images, size):
        yield study.batch(indices[start : start + size])


def grams(study: Study, network: Network, num_images: int) -> dict[str, Tensor]:
    """Inner products (N, N) of what each layer of a network says of the images, by layer."""
    layers, found = network.layers(), {}
    for batch in _batches(study, num_images):
        for tap, value in network.features(batch, layers).items():
            found.setdefault(tap, []).append(_vectors(value))
    return {tap: _gram(torch.cat(values)) for tap, values in found.items()}


def draw_similarity(study: Study, num_images: int = 256) -> Picture:
    """Draw the linear CKA of every layer of each network with every layer of the first.

    Args:
        study (Study): Two or more networks; a teacher is the first.
        num_images (int): At most so many, at even distances in the data. Defaults to 256.

    Raises:
        ValueError: If there is one network alone.
    """
    reference, *others = study.networks
    if not others:
        raise ValueError('similarity needs two networks; give another one --with NAME CONFIG FILE')
    num_images = min(num_images, len(study.loader.dataset))
    theirs = grams(study, reference, num_images)
    figure = Figure(figsize=(1 + 4.6 * len(others), 5), layout='constrained')
    tables, last = {}, {}
    row = figure.subplots(1, len(others), squeeze=False)[0]
    for axes, network in zip(row, others, strict=True):
        ours = grams(study, network, num_images)
        table = [[_alignment(row, column) for column in ours.values()] for row in theirs.values()]
        tables[network.name], last[network.name] = table, table[-1][-1]
        image = axes.imshow(table, vmin=0, vmax=1, cmap='magma', origin='lower', aspect='auto')
        for axis, names in ((axes.set_xticks, ours), (axes.set_yticks, theirs)):
            step = 1 + len(names) // 14
            short = [name.removeprefix('backbone.') for name in names]
            axis(range(0, len(names), step), short[::step], fontsize='small')
        axes.tick_params('x', rotation=90)
        axes.set(xlabel=f'layers of {network.name}', ylabel=f'layers of {reference.name}')
        axes.set_title(f'{network.name}: {last[network.name]:.2f} at the end')
    figure.colorbar(image, ax=figure.axes, label='linear CKA')
    ends = ', '.join(f'{name} {value:.2f}' for name, value in last.items())
    return Picture(
        'similarity',
        'Similarity of layers',
        figure,
        f'Linear CKA with the layers of {reference.name} on {num_images} test images, maps '
        f'averaged to {_GRID}x{_GRID}: 1 is the same up to rotation and scale. '
        f'Of the last blocks: {ends}.',
        dict(reference=reference.name, cka=tables),
    )
