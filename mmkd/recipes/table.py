"""The default taps and weights of every method: one row each.

A row is what ``mmkd distill --method`` writes into a config. The weights are the papers', or those
of the authors' configs, as the docstrings of :mod:`mmkd.losses` and ``configs/<method>`` give them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from mmkd.registry import MODELS

from .anatomy import ANCHOR_BASED, ANCHOR_FREE, CIFAR, IMAGENET, TWO_STAGE, Point
from .pairs import (
    Compared,
    Pair,
    Reference,
    UnfitError,
    anchor_generator,
    first_levels,
    labelled_logits,
    labelled_vectors,
    last_stage,
    logits,
    neck,
    num_data,
    own_levels,
    preactivations,
    review_levels,
    roi_logits,
    second_stage,
    stages,
    stride_8,
    vectors,
)


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


_ONE_STAGE = (ANCHOR_BASED, ANCHOR_FREE)
_PKD = {
    TWO_STAGE: dict(loss_weight=6.0),
    **dict.fromkeys(_ONE_STAGE, dict(loss_weight=10.0)),
}
_MGD = {
    TWO_STAGE: dict(alpha_mgd=5e-7, lambda_mgd=0.45),
    **dict.fromkeys(_ONE_STAGE, dict(alpha_mgd=2e-5, lambda_mgd=0.65)),
}
_FGD = {
    TWO_STAGE: dict(alpha_fgd=5e-5, beta_fgd=2.5e-5, gamma_fgd=5e-5, lambda_fgd=5e-7),
    ANCHOR_BASED: dict(alpha_fgd=1e-3, beta_fgd=5e-4, gamma_fgd=5e-4, lambda_fgd=5e-6),
    ANCHOR_FREE: dict(alpha_fgd=1.6e-3, beta_fgd=8e-4, gamma_fgd=8e-4, lambda_fgd=8e-6),
}

#: Methods for detectors.
DETECTION = {
    'pkd': Recipe('PKDLoss', first_levels, by_kind=_PKD),
    'cwd': Recipe('CWDLoss', neck, dict(tau=1.0, loss_weight=10.0)),
    'mgd': Recipe('MGDLoss', own_levels, by_kind=_MGD),
    'fgd': Recipe('FGDLoss', own_levels, dict(temp=0.5), _FGD),
    'reviewkd': Recipe('ReviewKDLoss', neck, dict(loss_weight=0.5)),
    'fitnet': Recipe('HintLoss', stride_8, dict(regressor='conv', loss_weight=0.1)),
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
    'fitnet': Recipe('HintLoss', second_stage, dict(regressor='conv_bn_relu', loss_weight=100.0)),
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
    length = round(fraction * loop.get('max_epochs' if by_epoch else 'max_iters', 0))
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
