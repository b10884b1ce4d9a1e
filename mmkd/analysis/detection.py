"""What detectors find and what they get wrong: AP by size and class, and kinds of errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from mmdet.evaluation.functional import bbox_overlaps

from .picture import Picture
from .study import Study

#: What CocoMetric calls the parts of AP, and what readers do.
_PARTS = {
    'bbox_mAP': 'AP',
    'bbox_mAP_50': 'AP50',
    'bbox_mAP_75': 'AP75',
    'bbox_mAP_s': 'small',
    'bbox_mAP_m': 'medium',
    'bbox_mAP_l': 'large',
}
_OF_CLASS = '_precision'
#: Of more classes, those are drawn that differ most.
_MOST = 20
#: Least score of a box that counts.
SCORE = 0.3
_RIGHT, _NEAR = 0.5, 0.1

#: Kinds of what is found, and of what is not.
KINDS = ('right', 'class', 'location', 'class and location', 'duplicate', 'background', 'missed')


def truth(study: Study, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (M, 4) of a test image, in its own pixels, and their classes (M, )."""
    instances = study.loader.dataset.get_data_info(int(index))['instances']
    kept = [instance for instance in instances if not instance.get('ignore_flag')]
    boxes = np.array([instance['bbox'] for instance in kept], dtype=np.float32).reshape(-1, 4)
    return boxes, np.array([instance['bbox_label'] for instance in kept], dtype=int)


def found(study: Study, name: str, index: int, score: float = SCORE) -> tuple[np.ndarray, ...]:
    """Boxes (N, 4), classes and scores (N, ) that a detector finds in a test image, best first."""
    instances = study.detections[name][int(index)].pred_instances
    instances = instances[instances.scores >= score]
    instances = instances[instances.scores.argsort(descending=True)]
    parts = (instances.bboxes, instances.labels, instances.scores)
    return tuple(part.numpy() for part in parts)


def judge(
    boxes: np.ndarray, labels: np.ndarray, true_boxes: np.ndarray, true_labels: np.ndarray
) -> list[str]:
    """What each box is, best first, and one ``'missed'`` for each object that nothing is near.

    A box is *right* with an IoU of 0.5 or more with an object of its class that no better box has,
    and a *duplicate* if one has; *class* with that IoU with an object of another class; *location*
    with an IoU of 0.1 or more with an object of its class, *class and location* with one of
    another; else *background*. An object is *missed* if no box is right about it, or wrong about
    its class or location alone. Kinds and thresholds: *TIDE*, Bolya et al., ECCV 2020, section 2.2.

    Args:
        boxes (ndarray): (N, 4).
        labels (ndarray): (N, ).
        true_boxes (ndarray): (M, 4).
        true_labels (ndarray): (M, ).
    """
    if not len(true_boxes):
        return ['background'] * len(boxes)
    overlaps = bbox_overlaps(boxes.reshape(-1, 4), true_boxes)
    taken, near, kinds = set(), set(), []
    for row, label in zip(overlaps, labels, strict=True):
        same = true_labels == label
        ours, others = np.where(same, row, 0), np.where(same, 0, row)
        free = np.where(np.isin(np.arange(len(row)), list(taken)), 0, ours)
        if free.max() >= _RIGHT:
            taken.add(int(free.argmax()))
            kinds.append('right')
        elif ours.max() >= _RIGHT:
            kinds.append('duplicate')
        elif others.max() >= _RIGHT:
            near.add(int(others.argmax()))
            kinds.append('class')
        elif ours.max() >= _NEAR:
            near.add(int(ours.argmax()))
            kinds.append('location')
        else:
            kinds.append('class and location' if others.max() >= _NEAR else 'background')
    return kinds + ['missed'] * (len(true_labels) - len(taken | near))


def num_right(study: Study, name: str, index: int) -> int:
    """How many objects of a test image a detector is right about."""
    boxes, labels, _ = found(study, name, index)
    return judge(boxes, labels, *truth(study, index)).count('right')


def count_errors(study: Study) -> dict[str, dict[str, int]]:
    """How often each kind occurs in the test images, by detector."""
    counts: dict[str, Counter] = {network.name: Counter() for network in study.networks}
    for index in range(len(study.loader.dataset)):
        for name, count in counts.items():
            boxes, labels, _ = found(study, name, index)
            count.update(judge(boxes, labels, *truth(study, index)))
    return {name: {kind: count[kind] for kind in KINDS} for name, count in counts.items()}


def _bars(axes, labels: Sequence[str], values: Mapping[str, Sequence[float]], colors) -> None:
    """Bars of each name beside each other."""
    width = 0.8 / len(values)
    for index, (name, heights) in enumerate(values.items()):
        places = np.arange(len(labels)) + (index - (len(values) - 1) / 2) * width
        axes.bar(places, heights, width, color=colors[name], label=name)
    axes.set_xticks(range(len(labels)), labels, rotation=90 if max(map(len, labels)) > 8 else 0)
    axes.spines[['top', 'right']].set_visible(False)


def draw_precision(study: Study) -> Picture:
    """Draw AP of all, by IoU, size and class.

    Raises:
        ValueError: If ``test_evaluator`` is no CocoMetric of boxes.
    """
    metrics = {
        name: {key.rpartition('/')[2]: value for key, value in scores.items()}
        for name, scores in study.metrics.items()
    }
    main, before = study.main.name, (study.before or study.main).name
    # pycocotools says -1 of sizes of which there are no boxes.
    parts = [key for key in _PARTS if metrics[main].get(key, -1) >= 0]
    if 'bbox_mAP' not in parts:
        raise ValueError("precision: test_evaluator is no CocoMetric with metric='bbox'")
    classes = [key for key in metrics[main] if key.endswith(_OF_CLASS)]
    classes = [key for key in classes if not np.isnan(metrics[main][key])]
    gain = {key: metrics[main][key] - metrics[before][key] for key in classes}
    shown = sorted(classes, key=lambda key: -abs(gain[key]))[:_MOST]
    shown = sorted(shown, key=lambda key: -gain[key])
    colors = {network.name: network.color for network in study.networks}
    figure = Figure(figsize=(max(10, 6 + 0.5 * len(shown)), 4.4), layout='constrained')
    left, right = figure.subplots(1, 2, width_ratios=(len(parts), max(3, len(shown))), sharey=True)
    for axes, keys, labels in (
        (left, parts, [_PARTS[key] for key in parts]),
        (right, shown, [key.removesuffix(_OF_CLASS) for key in shown]),
    ):
        values = {name: [100 * scores[key] for key in keys] for name, scores in metrics.items()}
        if keys:
            _bars(axes, labels, values, colors)
    left.set(ylabel='AP (%)', title='By IoU and size')
    right.set(title='By class')
    left.legend(fontsize='small')
    ap = {name: 100 * scores['bbox_mAP'] for name, scores in metrics.items()}
    sentence = ', '.join(f'{name} {value:.1f}' for name, value in ap.items())
    if before != main and shown:
        best = max(gain, key=gain.get)
        sentence += (
            f'. {main} gains most on class {best.removesuffix(_OF_CLASS)} '
            f'({100 * gain[best]:+.1f} points over {before})'
        )
    return Picture(
        'precision',
        'Average precision',
        figure,
        f'AP of COCO (small: below 32x32 pixels, large: above 96x96): {sentence}.',
        {
            name: {key: scores[key] for key in [*parts, *classes]}
            for name, scores in metrics.items()
        },
    )


def draw_errors(study: Study) -> Picture:
    """Draw how often each detector is right, and what it gets wrong (:func:`judge`)."""
    counts = count_errors(study)
    colors = {network.name: network.color for network in study.networks}
    figure = Figure(figsize=(10, 4), layout='constrained')
    axes = figure.subplots()
    values = {name: [count[kind] for kind in KINDS] for name, count in counts.items()}
    _bars(axes, [kind.replace(' and ', '\nand ') for kind in KINDS], values, colors)
    axes.tick_params('x', rotation=0)
    axes.set(ylabel='boxes, or objects missed')
    axes.legend(fontsize='small')
    main, before = study.main.name, study.before
    sentence = ''
    if before is not None:
        less = {kind: counts[before.name][kind] - counts[main][kind] for kind in KINDS[1:]}
        kind = max(less, key=less.get)
        sentence = (
            f' The largest difference: {counts[before.name][kind]} of {before.name} are "{kind}", '
            f'{counts[main][kind]} of {main}.'
        )
    return Picture(
        'errors',
        'What is found and what goes wrong',
        figure,
        f'Boxes with a score of {SCORE} or more, by kind (right from an IoU of 0.5 on; near from '
        f'0.1 on), and objects that no box is near.{sentence}',
        counts,
    )
