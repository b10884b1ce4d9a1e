"""A classifier with exits."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.model import BaseModel, ModuleList
from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from mmkd.modes import evaluating
from mmkd.registry import MODELS
from mmkd.taps import Taps

from .early_exit import early_exit
from .exits import TokenExit
from .image_shape import dry, first_fit, image_shapes

#: Name of a network's own classifier among its outputs.
MAIN = 'main'
#: What to do where a network does not run on the dummy image.
INPUT_SHAPE = 'set input_shape beside model to a size that it takes'
#: Name of the output of early-exit inference.
EARLY_EXIT = 'early_exit'


@dataclass(frozen=True)
class Outputs:
    """What the classifiers of one network gave, from the shallowest exit to the main one.

    Args:
        logits (list[Tensor]): (N, num_classes) each.
        features (list[Tensor]): The map that each classifier pools, (N, C_e, H_e, W_e), or what it
            has in place of one; of a network without exits none.
    """

    logits: list[Tensor]
    features: list[Tensor]


@MODELS.register_module()
class MultiExitClassifier(BaseModel):
    """An image classifier and exits that start at its taps.

    The classifier stays an ordinary mmpretrain model under the attribute ``model``; the exits can
    be taken away without touching it.

    Args:
        model (dict): Config of an mmpretrain ``ImageClassifier``.
        exits (sequence of dict): From shallow to deep. Each is the config of an
            :class:`~mmkd.models.exits.Exit` plus ``tap``, the path where it starts
            (:class:`~mmkd.taps.Tap`). ``num_classes`` is the head's unless given.
        exit_type (str, optional): Type of the exits that give none.
        feature_tap (str, optional): Path of the network's own last map, which objectives compare
            with the exits'; of a tuple the last. Defaults to ``'neck:input'``, what the pooling
            sees, or without a neck ``'backbone'``.
        threshold (float or sequence of float, optional): Confidence, of all exits or of each, from
            which on a sample leaves by an exit in prediction (:func:`early_exit`). Defaults to
            None, all outputs are computed.
        input_shape (tuple[int], optional): Shape (C, H, W) of the dummy image of the dry forward
            that checks taps and channels at construction. Defaults to what the network was made for
            (:func:`~mmkd.models.image_shape.image_shapes`).
        data_preprocessor (dict, optional): Used if ``model`` has none of its own.

    Raises:
        ValueError: If there is no head, or its loss is not one of its logits, a tap names no module
            or one that runs several times, an exit does not fit what it gives, a deep exit stands
            before a shallow one, or there is not one threshold for each exit.

    Example:
        >>> model = dict(
        ...     type='mmkd.MultiExitClassifier',
        ...     model=dict(type='ImageClassifier', ...),
        ...     exits=[dict(tap='backbone.layer1', type='mmkd.BottleneckExit', ...)])
    """

    def __init__(
        self,
        model: dict,
        exits: Sequence[dict] = (),
        exit_type: str | None = None,
        feature_tap: str | None = None,
        threshold: float | Sequence[float] | None = None,
        input_shape: tuple[int, int, int] | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        model = copy.deepcopy(model)
        if data_preprocessor is not None:
            model.setdefault('data_preprocessor', data_preprocessor)
        model = MODELS.build(model)
        super().__init__(data_preprocessor=model.data_preprocessor)
        _check_head(model)
        self.model = model
        self.exits = ModuleList()
        self.taps = []
        for index, cfg in enumerate(exits):
            cfg = {'_scope_': 'mmkd', **cfg}
            if hasattr(model.head, 'num_classes'):
                cfg.setdefault('num_classes', model.head.num_classes)
            elif 'num_classes' not in cfg:
                raise ValueError(
                    f'exits[{index}].num_classes is missing, and model.head, a '
                    f'{type(model.head).__name__}, does not say it; give the number of classes'
                )
            if 'type' not in cfg:
                cfg['type'] = exit_type
            if not cfg.get('tap'):
                raise ValueError(
                    f'exits[{index}].tap is missing: give where the exit starts, such as '
                    "tap='backbone.layer1'"
                )
            self.taps.append(cfg.pop('tap'))
            if cfg['type'] is None:
                raise ValueError(
                    f'exits[{index}].type is missing: give it there, or exit_type for all exits, '
                    "such as 'mmkd.BottleneckExit'"
                )
            try:
                self.exits.append(MODELS.build(cfg))
            except TypeError as error:
                raise TypeError(f'exits[{index}]: {error}') from error
        if isinstance(threshold, (int, float)):
            threshold = [threshold] * len(self.exits)
        if threshold is not None and len(threshold) != len(self.exits):
            raise ValueError(
                f'MultiExitClassifier: threshold={list(threshold)} for {len(self.exits)} exits; '
                'give one number for all, or one for each'
            )
        if feature_tap is None:
            feature_tap = 'neck:input' if model.with_neck else 'backbone'
        self.feature_tap, self.threshold = feature_tap, threshold
        shapes = image_shapes(model) if input_shape is None else [tuple(input_shape)]
        self.input_shape = first_fit(shapes, self._check)

    @property
    def names(self) -> list[str]:
        """Names of the outputs: ``exit1``, ``exit2``, ..., ``main``."""
        return [f'exit{index + 1}' for index in range(len(self.exits))] + [MAIN]

    @property
    def _tapped(self) -> list[str]:
        # A feature is compared with the exits' alone.
        return [*self.taps, self.feature_tap] if self.exits else []

    @torch.no_grad()
    def _check(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Run a dummy batch, so that a wrong tap or number of channels stops here."""
        images = torch.zeros(2, *shape)
        with evaluating(self), Taps(self.model, self._tapped) as record:
            with dry('the network', images, INPUT_SHAPE):
                logits = self.model(images, mode='tensor')
            if not _are_logits(logits):
                raise ValueError(
                    f'model.head, a {type(self.model.head).__name__}, gives {_shape_of(logits)} '
                    'where logits of (N, num_classes) are expected; use a head with one classifier'
                )
            for index, tap in enumerate(self.taps):
                count = record.calls.get(tap, 0)
                if count > 1:
                    raise ValueError(
                        f'exits[{index}].tap={tap!r} lies in a module that runs {count} times in a '
                        'forward pass, and an exit starts from one tensor; tap a module that runs '
                        'once, such as a whole block'
                    )
                run = self.exits[index]
                name = f'exits[{index}] ({type(run).__name__})'
                found = _shape_of(record[tap])
                are_tokens = getattr(record[tap], 'ndim', None) == 3
                unfit = are_tokens and not isinstance(run, TokenExit)
                hint = '; tokens (N, L, C) need mmkd.TokenExit' if unfit else ''
                try:
                    logits = run(record[tap])[1]
                except (RuntimeError, ValueError, AttributeError, TypeError) as error:
                    raise ValueError(
                        f'{name} does not fit what tap={tap!r} gives, {found}: {error}; correct '
                        f'in_channels or the tap{hint}'
                    ) from error
                if not _are_logits(logits):
                    raise ValueError(
                        f'{name} makes {_shape_of(logits)} of what tap={tap!r} gives, {found}, '
                        f'where logits of (N, num_classes) are expected{hint}'
                    )
        reached = [record.reached.index(tap) for tap in self.taps]
        if reached != sorted(reached):
            raise ValueError(
                f'exits start at {", ".join(self.taps)}, which the network does not reach in this '
                'order; list exits from shallow to deep'
            )
        return shape

    def outputs(self, inputs: Tensor) -> Outputs:
        """Run the network and all its exits.

        Args:
            inputs (Tensor): Normalised batch, (N, C, H, W).
        """
        with Taps(self.model, self._tapped) as record:
            logits = self.model(inputs, mode='tensor')
        if not self.exits:
            return Outputs(logits=[logits], features=[])
        exits = [run(record[tap]) for run, tap in zip(self.exits, self.taps, strict=True)]
        feature = record[self.feature_tap]
        if isinstance(feature, (tuple, list)):
            feature = feature[-1]
        return Outputs(
            logits=[z for _, z in exits] + [logits],
            features=[h for h, _ in exits] + [feature],
        )

    def classification_loss(self, logits: Tensor, data_samples: list) -> Tensor:
        """The head's own loss on the logits of any classifier, a scalar."""
        # The head's method, so that label smoothing and mixed labels count for exits too.
        return self.model.head._get_loss(logits, data_samples)['loss']

    def scores(self, inputs: Tensor) -> dict[str, Tensor]:
        """Logits of every output and, with exits, of their ensemble, by name.

        The ensemble is the sum of all logits (*Rethinking Online Knowledge Distillation with
        Multi-Exits*, Table 2).
        """
        scores = dict(zip(self.names, self.outputs(inputs).logits, strict=True))
        if len(scores) > 1:
            scores['ensemble'] = torch.stack(list(scores.values())).sum(dim=0)
        return scores

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'
    ) -> Any:
        """Predict with the main classifier or, with a ``threshold``, the first confident exit.

        Args:
            inputs (Tensor): Normalised batch, (N, C, H, W).
            data_samples (list, optional): The batch's data samples.
            mode (str): ``'tensor'`` or ``'predict'``.

        Returns:
            The main classifier's logits for ``'tensor'``; data samples for ``'predict'``, with
            ``outputs``, a dict of logits (num_classes,) by the name of the output. With a
            ``threshold`` the only output is ``'early_exit'``, and ``exit`` names who gave it.

        Raises:
            ValueError: For another mode.
        """
        if mode == 'tensor':
            return self.outputs(inputs).logits[-1]
        if mode != 'predict':
            raise ValueError(
                f'MultiExitClassifier has no mode={mode!r}; train it with mmkd.MultiExitDistiller'
            )
        if self.threshold is None:
            return predictions(self.model.head, self.scores(inputs), MAIN, data_samples)
        logits, taken = early_exit(self, inputs, self.threshold)
        scores = {EARLY_EXIT: logits}
        samples = predictions(self.model.head, scores, EARLY_EXIT, data_samples)
        for sample, index in zip(samples, taken.tolist(), strict=True):
            sample.set_field(self.names[index], 'exit')
        return samples


def without_exits(model: nn.Module) -> nn.Module:
    """The network that exits start from; any other network as it is."""
    return model.model if isinstance(model, MultiExitClassifier) else model


def _check_head(model: nn.Module) -> None:
    """Raise if the losses of a classifier are not those of one tensor of logits.

    Exits and peers are compared by logits, and classified by the head's loss on theirs.
    """
    head = getattr(model, 'head', None)
    if head is None:
        raise ValueError(
            f'model, of type {type(model).__name__}, has no head; give an ImageClassifier with one '
            'such as LinearClsHead'
        )
    check_trains('model', model)
    # EfficientFormer's overrides it for its distillation token alone.
    with_token = hasattr(head, 'dist')
    if isinstance(head, ClsHead) and (type(head).loss is ClsHead.loss or with_token):
        return
    raise ValueError(
        f'model.head is a {type(head).__name__}, whose loss is not that of its logits alone, so '
        'there is nothing that exits and peers could share; give one such as LinearClsHead'
    )


def check_trains(key: str, model: nn.Module) -> None:
    """Raise for a head that mmpretrain has for prediction alone: LeViT's, EfficientFormer's.

    Args:
        key (str): Where the model is in the config, such as ``'model.student'``.
        model (nn.Module): The model.

    Raises:
        ValueError: If its head has a classifier for a distillation token.
    """
    head = getattr(model, 'head', None)
    if getattr(head, 'distillation', False) or getattr(head, 'dist', False):
        raise ValueError(
            f'{key}.head is a {type(head).__name__} with distillation=True, which mmpretrain does '
            f'not train; set {key}.head.distillation=False'
        )


def _are_logits(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2


def _shape_of(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else f'a {type(value).__name__}'


def predictions(
    head: nn.Module, scores: dict[str, Tensor], main: str, data_samples: list | None
) -> list:
    """Data samples with the prediction of one output and the logits of all.

    Args:
        head (nn.Module): Classification head that makes data samples.
        scores (dict[str, Tensor]): Logits by name, (N, num_classes) each.
        main (str): The output that is ``pred_score`` and ``pred_label``.
        data_samples (list, optional): The batch's data samples.
    """
    samples = head._get_predictions(scores[main], data_samples)
    for index, sample in enumerate(samples):
        sample.set_field({name: z[index] for name, z in scores.items()}, 'outputs')
    return samples
