"""Which classes a network gets right that another one does not, and what it confuses."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from mmpretrain.evaluation import ConfusionMatrix
from torch import Tensor

from .picture import Picture
from .study import Study

#: Of more classes, those are drawn that differ most.
_MOST = 20


def confusion(logits: Tensor, labels: Tensor) -> np.ndarray:
    """How many images of a class (row) are taken for another (column), (K, K)."""
    count = logits.shape[1]
    return ConfusionMatrix.calculate(logits.argmax(dim=1), labels, count).numpy()


def draw_classes(study: Study) -> Picture:
    """Draw the accuracy of each class, and where two classifiers confuse classes differently.

    Raises:
        ValueError: If there is one network alone.
    """
    before, main = study.before, study.main
    networks = study.scored
    if before is None or before not in networks:
        raise ValueError(
            'classes needs another network with the same classes; give one --with NAME CONFIG FILE'
        )
    tables = {n.name: confusion(study.outputs[n.name].logits, study.labels) for n in networks}
    # Classes without a test image have no accuracy.
    present = np.flatnonzero(tables[main.name].sum(axis=1))
    accuracy = {
        name: 100 * (table.diagonal()[present] / table.sum(axis=1)[present])
        for name, table in tables.items()
    }
    gain = accuracy[main.name] - accuracy[before.name]
    order = np.argsort(-np.abs(gain), kind='stable')[:_MOST]
    order = order[np.argsort(-gain[order], kind='stable')]
    figure = Figure(figsize=(max(9, 5.2 + 0.42 * len(order)), 4.8), layout='constrained')
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    width = 0.8 / len(networks)
    for index, network in enumerate(networks):
        places = np.arange(len(order)) + (index - (len(networks) - 1) / 2) * width
        values = accuracy[network.name][order]
        left.bar(places, values, width, color=network.color, label=network.name)
    names = [study.class_name(present[i]) for i in order]
    left.set_xticks(range(len(order)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    low = min(accuracy[n.name][order].min() for n in networks)
    left.set(ylabel='accuracy (%)', ylim=(max(0, low - 10), 100), title='Accuracy of each class')
    left.legend(loc='lower left', fontsize='small')
    difference = (tables[main.name] - tables[before.name])[np.ix_(present[order], present[order])]
    most = max(1, np.abs(difference).max())
    image = right.imshow(difference, cmap='RdBu', vmin=-most, vmax=most)
    right.set_xticks(range(len(order)), names, rotation=90, fontsize='small')
    right.set_yticks(range(len(order)), names, fontsize='small')
    right.set(xlabel='taken for', ylabel='class', title=f'Images, {main.name} - {before.name}')
    figure.colorbar(image, ax=right)
    drawn = 'All classes' if len(order) == len(present) else f'The {_MOST} classes that differ most'
    best = study.class_name(present[np.argmax(gain)])
    rest = tables[before.name] - tables[main.name]
    np.fill_diagonal(rest, 0)
    row, column = np.unravel_index(rest.argmax(), rest.shape)
    sentence = (
        f'{main.name} gains most on class {best} ({gain.max():+.1f} points over {before.name})'
    )
    if rest[row, column] > 0:
        sentence += (
            f'; {study.class_name(row)} is taken for {study.class_name(column)} '
            f'{tables[before.name][row, column]} times by {before.name} and '
            f'{tables[main.name][row, column]} times by {main.name}'
        )
    return Picture(
        'classes',
        'Classes',
        figure,
        f'{drawn}, from what {main.name} gains to what it loses. Right: blue on the diagonal is '
        f'what {main.name} gets right more often, red beside it what it confuses less. {sentence}.',
        dict(
            classes=[study.class_name(i) for i in present],
            accuracy={name: values.tolist() for name, values in accuracy.items()},
        ),
    )
