"""What detectors find and what they get wrong: AP by size and class, and kinds of errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
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
#: How CocoMetric ends what it says of a class.
OF_CLASS = '_precision'
#: Of more classes, those are drawn that differ most.
_MOST = 20
#: Of more letters, names of bars are turned.
_MOST_LETTERS = 90
#: Least score of a box that counts.
SCORE = 0.3
_RIGHT, _NEAR = 0.5, 0.1

#: Kinds of what is found, and of what is not.
KINDS = ('right', 'class', 'location', 'class and location', 'duplicate', 'background', 'missed')


def truth(study: Study, index: int, ignored: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (M, 4) of a test image, in its own pixels, and their classes (M, ).

    Args:
        study (Study): Detectors.
        index (int): Of the image.
        ignored (bool): Those that evaluation leaves out, such as crowds, and not the others.
            Defaults to False.
    """
    instances = study.loader.dataset.get_data_info(int(index))['instances']
    kept = [each for each in instances if bool(each.get('ignore_flag')) == ignored]
    boxes = np.array([each['bbox'] for each in kept], dtype=np.float32).reshape(-1, 4)
    return boxes, np.array([each['bbox_label'] for each in kept], dtype=int)


def found(study: Study, name: str, index: int, score: float = SCORE) -> tuple[np.ndarray, ...]:
    """Boxes (N, 4), classes and scores (N, ) that a detector finds in a test image, best first."""
    instances = study.detections[name][int(index)].pred_instances
    parts = (instances.bboxes, instances.labels, instances.scores)
    order = instances.scores.argsort(descending=True)
    order = order[instances.scores[order] >= score]
    return tuple(part[order].numpy() for part in parts)


@dataclass
class Judgement:
    """What is right and wrong in an image.

    Args:
        kinds (list[str]): What each box is, best first.
        right (set[int]): Objects that a box is right about.
        missed (set[int]): Objects that no box is near.
    """

    kinds: list[str] = field(default_factory=list)
    right: set[int] = field(default_factory=set)
    missed: set[int] = field(default_factory=set)


def judge(
    boxes: np.ndarray, labels: np.ndarray, true_boxes: np.ndarray, true_labels: np.ndarray
) -> Judgement:
    """Say what each box is, and which objects are found.

    A box is *right* with an IoU of 0.5 or more with an object of its class that no better box has,
    and a *duplicate* if one has; *class* with that IoU with an object of another class; *location*
    with an IoU of 0.1 or more with an object of its class, *class and location* with one of
    another; else *background*. An object is *missed* if no box is right about it, or wrong about
    its class or location alone. Kinds and thresholds: *TIDE*, Bolya et al., ECCV 2020, section 2.2.

    Args:
        boxes (ndarray): (N, 4), best first.
        labels (ndarray): (N, ).
        true_boxes (ndarray): (M, 4).
        true_labels (ndarray): (M, ).
    """
    if not len(true_boxes):
        return Judgement(['background'] * len(boxes))
    overlaps = bbox_overlaps(boxes.reshape(-1, 4), true_boxes)
    judgement, near = Judgement(), set()
    for row, label in zip(overlaps, labels, strict=True):
        same = true_labels == label
        ours, others = np.where(same, row, 0), np.where(same, 0, row)
        free = ours.copy()
        free[list(judgement.right)] = 0
        if free.max() >= _RIGHT:
            judgement.right.add(int(free.argmax()))
            kind = 'right'
        elif ours.max() >= _RIGHT:
            kind = 'duplicate'
        elif others.max() >= _RIGHT:
            near.add(int(others.argmax()))
            kind = 'class'
        elif ours.max() >= _NEAR:
            near.add(int(ours.argmax()))
            kind = 'location'
        else:
            kind = 'class and location' if others.max() >= _NEAR else 'background'
        judgement.kinds.append(kind)
    judgement.missed = {*range(len(true_labels))} - judgement.right - near
    return judgement


def judge_image(study: Study, name: str, index: int) -> Judgement:
    """:func:`judge` what a detector finds in a test image.

    A box that is not right, half of which or more lies in an ignored box of its class, is
    *ignored*.
    """
    boxes, labels, _ = found(study, name, index)
    judgement = judge(boxes, labels, *truth(study, index))
    ignored, of_class = truth(study, index, ignored=True)
    if len(boxes) and len(ignored):
        inside = bbox_overlaps(boxes, ignored, mode='iof') >= _RIGHT
        inside = (inside & (labels[:, None] == of_class)).any(axis=1)
        judgement.kinds = [
            'ignored' if within and kind != 'right' else kind
            for kind, within in zip(judgement.kinds, inside, strict=True)
        ]
    return judgement


def count_errors(study: Study) -> dict[str, dict[str, int]]:
    """How often each kind occurs in the test images, by detector."""
    counts: dict[str, Counter] = {network.name: Counter() for network in study.networks}
    for index in range(len(study.loader.dataset)):
        for name, count in counts.items():
            judgement = judge_image(study, name, index)
            count.update(judgement.kinds)
            count['missed'] += len(judgement.missed)
    return {name: {kind: count[kind] for kind in KINDS} for name, count in counts.items()}


def _bars(
    axes: Axes,
    labels: Sequence[str],
    values: Mapping[str, Sequence[float]],
    study: Study,
    form: str,
) -> None:
    """Bars of each name beside each other, and over the main one's its difference."""
    colors = {network.name: network.color for network in study.networks}
    width = 0.8 / len(values)
    for index, (name, heights) in enumerate(values.items()):
        places = np.arange(len(labels)) + (index - (len(values) - 1) / 2) * width
        bars = axes.bar(places, heights, width, color=colors[name], label=name)
        if study.before is not None and name == study.main.name:
            gains = np.subtract(heights, values[study.before.name])
            axes.bar_label(bars, [format(gain, form) for gain in gains], padding=2, fontsize=8)
    longest = max(len(line) for label in labels for line in label.split('\n'))
    turned = longest * len(labels) > _MOST_LETTERS
    axes.set_xticks(range(len(labels)), labels, rotation=90 if turned else 0)
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
    classes = [key for key in metrics[main] if key.endswith(OF_CLASS)]
    classes = [key for key in classes if not np.isnan(metrics[main][key])]
    gain = {key: metrics[main][key] - metrics[before][key] for key in classes}
    shown = sorted(classes, key=lambda key: -abs(gain[key]))[:_MOST]
    shown = sorted(shown, key=lambda key: -gain[key])
    figure = Figure(figsize=(max(10, 6 + 0.5 * len(shown)), 4.4), layout='constrained')
    left, right = figure.subplots(1, 2, width_ratios=(len(parts), max(3, len(shown))), sharey=True)
    for axes, keys, labels in (
        (left, parts, [_PARTS[key] for key in parts]),
        (right, shown, [key.removesuffix(OF_CLASS) for key in shown]),
    ):
        values = {name: [100 * scores[key] for key in keys] for name, scores in metrics.items()}
        if keys:
            _bars(axes, labels, values, study, '+.1f')
    left.set(ylabel='AP (%)', title='By IoU and size')
    right.set(title='By class')
    figure.legend(*left.get_legend_handles_labels(), loc='outside upper right', ncols=len(metrics))
    ap = {name: 100 * scores['bbox_mAP'] for name, scores in metrics.items()}
    sentence = ', '.join(f'{name} {value:.1f}' for name, value in ap.items())
    if before != main:
        sentence += f'; over the bars of {main}, the difference from {before}'
    if before != main and shown:
        best = max(gain, key=gain.get)
        sentence += (
            f'. {main} gains most on class {best.removesuffix(OF_CLASS)} '
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
    figure = Figure(figsize=(10, 4), layout='constrained')
    axes = figure.subplots()
    values = {name: [count[kind] for kind in KINDS] for name, count in counts.items()}
    _bars(axes, [kind.replace(' and ', '\nand ') for kind in KINDS], values, study, '+d')
    axes.set(ylabel='boxes, or objects missed')
    figure.legend(loc='outside upper right', ncols=len(values))
    main, before = study.main.name, study.before
    sentence = compared = ''
    if before is not None:
        compared = f'; over the bars of {main}, the difference from {before.name}'
        more = {kind: counts[main][kind] - counts[before.name][kind] for kind in KINDS}
        said = [
            f'{counts[main][kind]} of {main} against {counts[before.name][kind]} are "{kind}"'
            for kind in sorted(KINDS, key=lambda kind: -abs(more[kind]))[:3]
            if more[kind]
        ]
        if said:
            sentence = f' What differs most from {before.name}: {", ".join(said)}.'
    return Picture(
        'errors',
        'What is found and what goes wrong',
        figure,
        f'Boxes with a score of {SCORE} or more, by kind (right from an IoU of 0.5 on; near from '
        f'0.1 on), and objects that no box is near{compared}.{sentence}',
        counts,
    )
