"""What the methods compare in a pair of models: taps chosen by stride, level or role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from .anatomy import TWO_STAGE, Anatomy, Point

#: Two points that are compared: the student's and the teacher's.
Compared = tuple[Point, Point]


class UnfitError(ValueError):
    """A method does not suit a pair; the message says why."""


@dataclass(frozen=True)
class Pair:
    """A student and a teacher.

    Args:
        student (Anatomy): What can be tapped in the student.
        teacher (Anatomy): What can be tapped in the teacher.
        cfg (Config): The student's config.
    """

    student: Anatomy
    teacher: Anatomy
    cfg: Config


@dataclass(frozen=True)
class Reference:
    """A value that the written config takes from its base.

    Args:
        path (str): Where it is in the base, such as ``'model.rpn_head.anchor_generator'``.
        value (Any): What is there.
        changes (dict): What differs from it in the written config.
    """

    path: str
    value: Any
    changes: Mapping[str, Any] = field(default_factory=dict)


def _by_stride(student: list[Point], teacher: list[Point]) -> list[Compared]:
    """Pair points of equal stride, both lists from small to large strides."""
    found, rest = [], list(teacher)
    for ours in student:
        for index, theirs in enumerate(rest):
            if ours.stride == theirs.stride:
                found.append((ours, theirs))
                rest = rest[index + 1 :]
                break
    return found


def _strides(points: list[Point]) -> str:
    return ', '.join(str(point.stride) for point in points) or 'none'


def stages(pair: Pair) -> list[Compared]:
    """The last maps of the backbones at the (up to four) largest strides that both have."""
    found = _by_stride(pair.student.stages, pair.teacher.stages)
    if not found:
        raise UnfitError(
            'it compares maps of the backbones of equal stride, and there are none (strides of the '
            f"student's: {_strides(pair.student.stages)}; of the teacher's: "
            f'{_strides(pair.teacher.stages)})'
        )
    return found[-4:]


def second_stage(pair: Pair) -> list[Compared]:
    """As the CRD benchmark has it for FitNet."""
    return stages(pair)[:2][-1:]


def stride_8(pair: Pair) -> list[Compared]:
    """As ReviewKD's supplement has it for FitNet on detectors: the second stage of a ResNet."""
    found = [ends for ends in stages(pair) if ends[0].stride == 8]
    if not found:
        raise UnfitError('it compares maps of the backbones of stride 8, and not both have one')
    return found


def last_stage(pair: Pair) -> list[Compared]:
    """The last map of each backbone, of any size; where there is none, the vector."""
    ends = [
        anatomy.stages[-1] if anatomy.stages else anatomy.vector
        for anatomy in (pair.student, pair.teacher)
    ]
    return vectors(pair) if None in ends else [tuple(ends)]


def _before(point: Point) -> Point:
    return point.preactivation or point


def preactivations(pair: Pair) -> list[Compared]:
    """The stages before their last ReLU, if they end with one."""
    return [(_before(ours), _before(theirs)) for ours, theirs in stages(pair)]


def review_levels(pair: Pair) -> list[Compared]:
    """As in the authors' code: the teacher's stages before the ReLU, and the pooled vector."""
    return [(ours, _before(theirs)) for ours, theirs in stages(pair)] + vectors(pair)


def vectors(pair: Pair) -> list[Compared]:
    """What the last linear layers see."""
    ends = pair.student.vector, pair.teacher.vector
    for side, end in zip(('student', 'teacher'), ends, strict=True):
        if end is None or end.value.ndim != 2:
            raise UnfitError(
                f'it compares the vectors before the classifiers, and the head of the {side} has '
                'no single linear layer that gives its logits'
            )
    return [ends]


def check_labels(pair: Pair) -> None:
    """Raise unless every training image has one label."""
    if not pair.student.hard_labels:
        raise UnfitError(
            "it needs one label for each image, and the student's head is a multi-label one, or "
            'its batch augmentations mix them'
        )


def labelled_vectors(pair: Pair) -> list[Compared]:
    """As :func:`vectors`, of images with one label each."""
    check_labels(pair)
    return vectors(pair)


def labelled_logits(pair: Pair) -> list[Compared]:
    """As :func:`logits`, of images with one label each."""
    check_labels(pair)
    return logits(pair)


def logits(pair: Pair) -> list[Compared]:
    """The logits of the classifiers."""
    ends = pair.student.logits, pair.teacher.logits
    if not all(ends):
        raise UnfitError(
            'it compares logits by their softmax, and not both models have a head for one class of '
            'many'
        )
    return [(ends[0][0], ends[1][0])]


def roi_logits(pair: Pair) -> list[Compared]:
    """The logits of the RoI heads, of as many stages of cascades as both have."""
    found = list(zip(pair.student.logits, pair.teacher.logits, strict=False))
    if not found:
        raise UnfitError(
            'it compares the classification of RoIs by its softmax, and not both models have a '
            'roi_head.bbox_head.fc_cls for one'
        )
    return found


def neck(pair: Pair) -> list[Compared]:
    """The levels of the necks of equal stride."""
    found = _by_stride(pair.student.levels, pair.teacher.levels)
    if not found:
        raise UnfitError(
            "it compares levels of the necks of equal stride, and there are none (the student's: "
            f"{_strides(pair.student.levels)}; the teacher's: {_strides(pair.teacher.levels)})"
        )
    return found


def first_levels(pair: Pair) -> list[Compared]:
    """The first four levels."""
    return neck(pair)[:4]


def own_levels(pair: Pair) -> list[Compared]:
    """All levels but the fifth of a two-stage detector, which is the fourth subsampled."""
    return first_levels(pair) if pair.student.kind == TWO_STAGE else neck(pair)


def anchor_generator(pair: Pair) -> Reference:
    """The anchor generator of the student's own head."""
    head = pair.student.anchors
    generator = pair.cfg.model.get(head, {}).get('anchor_generator') if head else None
    if generator is None:
        raise UnfitError('it needs the anchors of the student, which has none')
    return Reference(f'model.{head}.anchor_generator', generator)


def num_data(pair: Pair) -> int:
    """Number of images that the student trains with.

    Raises:
        FileNotFoundError: If they are not on this machine.
    """
    with DefaultScope.overwrite_default_scope(pair.cfg.get('default_scope')):
        return len(DATASETS.build(pair.cfg.train_dataloader.dataset))
