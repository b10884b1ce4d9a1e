"""The default taps and weights of every method: one row each.

A row is what ``mmkd distill --method`` writes into a config. The weights are the papers', or those
of the authors' configs, as the docstrings of :mod:`mmkd.losses` and ``configs/<method>`` give them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmkd.anatomy import (
    ANCHOR_BASED,
    ANCHOR_FREE,
    CIFAR,
    IMAGENET,
    TWO_STAGE,
    Anatomy,
    Point,
)
from mmkd.registry import MODELS

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
            'it needs one label for each image, and the batch augmentations of the student mix them'
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
        raise UnfitError('it compares logits, and not both models have a head that gives them')
    return [(ends[0][0], ends[1][0])]


def roi_logits(pair: Pair) -> list[Compared]:
    """The logits of the RoI heads, of as many stages of cascades as both have."""
    found = list(zip(pair.student.logits, pair.teacher.logits, strict=False))
    if not found:
        raise UnfitError(
            'it compares the classification of RoIs, and not both models have a '
            'roi_head.bbox_head.fc_cls'
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


@dataclass(frozen=True)
class Recipe:
    """The default term of a method.

    Args:
        loss (str): Type of the loss.
        taps (callable): Chooses what is compared; raises :class:`UnfitError` if there is nothing.
        arguments (dict): Of the loss.
        by_kind (dict): Further ones, by the kind of the student.
        student_loss_weight (dict): By the kind of the student, if not 1.
        warmup (dict): Fraction of the run over which the weight grows, by kind, if it does.
        from_pair (dict): Arguments that are read off the pair.
        trial (dict): Arguments for trying whether the loss takes the taps, in place of those that
            cost memory or need data.
    """

    loss: str
    taps: Callable[[Pair], list[Compared]]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    by_kind: Mapping[str, dict] = field(default_factory=dict)
    student_loss_weight: Mapping[str, float] = field(default_factory=dict)
    warmup: Mapping[str, float] = field(default_factory=dict)
    from_pair: Mapping[str, Callable[[Pair], Any]] = field(default_factory=dict)
    trial: Mapping[str, Any] = field(default_factory=dict)


# Weights of two-stage, anchor-based and anchor-free detectors.
_MGD = (
    {TWO_STAGE: dict(alpha_mgd=5e-7, lambda_mgd=0.45)}
    | dict.fromkeys((ANCHOR_BASED, ANCHOR_FREE), dict(alpha_mgd=2e-5, lambda_mgd=0.65))
)  # fmt: skip
_FGD = {
    TWO_STAGE: dict(alpha_fgd=5e-5, beta_fgd=2.5e-5, gamma_fgd=5e-5, lambda_fgd=5e-7),
    ANCHOR_BASED: dict(alpha_fgd=1e-3, beta_fgd=5e-4, gamma_fgd=1e-3, lambda_fgd=5e-6),
    ANCHOR_FREE: dict(alpha_fgd=1.6e-3, beta_fgd=8e-4, gamma_fgd=8e-3, lambda_fgd=8e-6),
}
_PKD = {TWO_STAGE: dict(loss_weight=6.0)} | dict.fromkeys(
    (ANCHOR_BASED, ANCHOR_FREE), dict(loss_weight=10.0)
)

#: Methods for detectors.
DETECTION = {
    'pkd': Recipe('PKDLoss', first_levels, by_kind=_PKD),
    'cwd': Recipe('CWDLoss', neck, dict(tau=1.0, loss_weight=10.0)),
    'mgd': Recipe('MGDLoss', own_levels, by_kind=_MGD),
    'fgd': Recipe('FGDLoss', own_levels, dict(temp=0.5), _FGD),
    'reviewkd': Recipe('ReviewKDLoss', neck, dict(loss_weight=0.5)),
    'fitnet': Recipe('HintLoss', stride_8, dict(loss_weight=0.1)),
    'fgfi': Recipe(
        'FGFILoss', neck, dict(loss_weight=0.01), from_pair=dict(anchor_generator=anchor_generator)
    ),
    'kd': Recipe('KLDivergenceLoss', roi_logits, dict(tau=1.0, loss_weight=20.0)),
}

# ReviewKD and DKD warm up over 20 of 240 epochs on CIFAR-100.
_WARMUP = {CIFAR: 20 / 240}

#: Methods for classifiers, with the weights of the CRD benchmark where a paper has none of its own
#: for CIFAR-100 or ImageNet. AB, FSP and FT have a phase before training and are not among them.
CLASSIFICATION = {
    'kd': Recipe(
        'KLDivergenceLoss',
        logits,
        by_kind={
            CIFAR: dict(tau=4.0, loss_weight=0.9),
            IMAGENET: dict(tau=1.0, loss_weight=0.5),
        },
        student_loss_weight={CIFAR: 0.1, IMAGENET: 0.5},
    ),
    'dkd': Recipe(
        'DKDLoss',
        labelled_logits,
        dict(alpha=1.0),
        {CIFAR: dict(beta=8.0, tau=4.0), IMAGENET: dict(beta=0.5, tau=1.0)},
        warmup=_WARMUP,
    ),
    'dist': Recipe(
        'DISTLoss',
        logits,
        dict(loss_weight=2.0),
        {CIFAR: dict(tau=4.0), IMAGENET: dict(tau=1.0)},
    ),
    'reviewkd': Recipe(
        'ReviewKDLoss',
        review_levels,
        by_kind={CIFAR: dict(loss_weight=5.0), IMAGENET: dict(loss_weight=1.0)},
        warmup=_WARMUP,
    ),
    'crd': Recipe(
        'CRDLoss',
        labelled_vectors,
        dict(loss_weight=0.8),
        from_pair=dict(num_data=num_data),
        trial=dict(num_data=1),
    ),
    'rkd': Recipe('RKDLoss', vectors, dict(loss_weight=1.0)),
    'pkt': Recipe('PKTLoss', vectors, dict(loss_weight=30000.0)),
    'cc': Recipe('CorrelationCongruenceLoss', vectors, dict(loss_weight=0.02)),
    'sp': Recipe('SimilarityPreservingLoss', last_stage, dict(loss_weight=3000.0)),
    'at': Recipe('AttentionTransferLoss', stages, dict(loss_weight=1000.0)),
    'nst': Recipe('NSTLoss', stages, dict(loss_weight=50.0)),
    'vid': Recipe('VIDLoss', stages, dict(loss_weight=1.0)),
    'fitnet': Recipe('HintLoss', second_stage, dict(loss_weight=100.0)),
    'ofd': Recipe(
        'OFDLoss',
        preactivations,
        by_kind={CIFAR: dict(loss_weight=1e-3), IMAGENET: dict(loss_weight=1e-4)},
    ),
}

#: All names of methods.
METHODS = list(dict.fromkeys([*DETECTION, *CLASSIFICATION]))


def recipes_for(pair: Pair) -> dict[str, Recipe]:
    """The table for detectors or for classifiers."""
    return DETECTION if pair.student.is_detector else CLASSIFICATION


def _tap(points: list[Point], levels: list[Point]) -> str | list[str]:
    """The shortest way to write taps: one, the whole neck, or a list."""
    taps = [point.tap for point in points]
    if len(taps) == 1:
        return taps[0]
    return 'neck' if taps == [level.tap for level in levels] else taps


def _warmup(fraction: float, cfg: Config) -> dict[str, Any]:
    """A fraction of a run as the arguments of a term."""
    loop = cfg.get('train_cfg') or {}
    by_epoch = 'max_epochs' in loop
    length = int(fraction * loop.get('max_epochs' if by_epoch else 'max_iters', 0))
    if not length:
        return {}
    return dict(warmup=length) if by_epoch else dict(warmup=length, by_epoch=False)


def _resolved(value: Any) -> Any:
    return value.value if isinstance(value, Reference) else value


def compare(recipe: Recipe, pair: Pair) -> list[Compared]:
    """Choose what a method compares in a pair.

    Raises:
        UnfitError: If it does not suit the pair.
    """
    found = recipe.taps(pair)
    arguments = {k: v(pair) for k, v in recipe.from_pair.items() if k not in recipe.trial}
    loss = MODELS.build(
        {
            '_scope_': 'mmkd',
            'type': recipe.loss,
            **{k: _resolved(v) for k, v in arguments.items()},
            **recipe.trial,
        }
    )
    sides = zip(*found, strict=True)
    student, teacher = ([point.value for point in side] for side in sides)
    try:
        loss.build(*((student[0], teacher[0]) if len(found) == 1 else (student, teacher)))
    except ValueError as error:
        raise UnfitError(str(error)) from error
    return found


def fitting(pair: Pair) -> list[str]:
    """The methods that suit a pair."""
    names = []
    for name, recipe in recipes_for(pair).items():
        try:
            compare(recipe, pair)
        except UnfitError:
            continue
        names.append(name)
    return names


def write_term(recipe: Recipe, pair: Pair, found: list[Compared]) -> dict[str, Any]:
    """The config of a method's term for a pair; values of the base as :class:`Reference`.

    Args:
        recipe (Recipe): The method.
        pair (Pair): The pair.
        found (list): What :func:`compare` chose.
    """
    kind = pair.student.kind
    student, teacher = (list(side) for side in zip(*found, strict=True))
    return dict(
        type=recipe.loss,
        student=_tap(student, pair.student.levels),
        teacher=_tap(teacher, pair.teacher.levels),
        **recipe.arguments,
        **recipe.by_kind.get(kind, {}),
        **{key: value(pair) for key, value in recipe.from_pair.items()},
        **(_warmup(recipe.warmup[kind], pair.cfg) if kind in recipe.warmup else {}),
    )
