"""What can be tapped in a model: found by a forward of a dummy image, with names to tap it by."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from mmkd.distillers.terms import without_softmax
from mmkd.models.image_shape import DEFAULT_SHAPE, image_size
from mmkd.publish import plain_model
from mmkd.registry import MODELS

#: What default weights depend on: the papers' two kinds of images, and their kinds of detectors.
CIFAR, IMAGENET = 'CIFAR', 'ImageNet'
TWO_STAGE, ANCHOR_BASED, ANCHOR_FREE = 'two-stage', 'anchor-based', 'anchor-free'

#: Training size above which images count as ImageNet's rather than CIFAR's, or, where it is not
#: known, total stride of a backbone made for such.
_CIFAR_SIZE, _IMAGENET_STRIDE = 64, 32
#: Side of the dummy image. A detector's is large enough to tell strides up to it apart.
_CLASSIFIER_SIZE, _DETECTOR_SIZE = DEFAULT_SHAPE[1], 128


@dataclass(frozen=True)
class Point:
    """A tap and what it gave for the dummy image.

    Args:
        tap (str): The tap (:class:`~mmkd.taps.Tap`).
        value (Tensor): Map (1, C, H, W) or vector (1, C).
        stride (int, optional): Image size over map size, to a power of two; None for a vector.
        preactivation (Point, optional): The map before the ReLU that gave this one, if one did.
    """

    tap: str
    value: Tensor
    stride: int | None = None
    preactivation: Point | None = None


@dataclass(frozen=True)
class Anatomy:
    """What can be tapped in a model.

    Args:
        kind (str): ``CIFAR`` or ``IMAGENET`` for a classifier, ``TWO_STAGE``, ``ANCHOR_BASED`` or
            ``ANCHOR_FREE`` for a detector.
        input_shape (tuple[int]): Shape of the dummy image, (C, H, W).
        stages (list[Point]): The last map of the backbone at each size, from large to small.
        levels (list[Point]): Maps of a detector's neck.
        logits (list[Point]): A classifier's, or those of each stage of a RoI head, for a softmax.
        vector (Point, optional): What a classifier's last linear layer sees.
        anchors (str, optional): Head whose config has the anchor generator of a detector.
        hard_labels (bool): Whether images have one label each, for a classifier, and keep it; batch
            augmentations mix them.
        pad_size_divisor (int): What a detector's images are padded to multiples of.
    """

    kind: str
    input_shape: tuple[int, int, int]
    stages: list[Point]
    levels: list[Point] = field(default_factory=list)
    logits: list[Point] = field(default_factory=list)
    vector: Point | None = None
    anchors: str | None = None
    hard_labels: bool = True
    pad_size_divisor: int = 1

    @property
    def is_detector(self) -> bool:
        """Whether the model is a detector."""
        return self.kind in (TWO_STAGE, ANCHOR_BASED, ANCHOR_FREE)


@dataclass(frozen=True)
class _Call:
    args: tuple
    output: Any
    version: int | None
    count: int  # calls of the module so far


class _Calls(dict):
    """The last call of every submodule, in the order of their ends."""

    def __init__(self, model: nn.Module, forward: Callable[[], Any]) -> None:
        super().__init__()
        with ExitStack() as stack, torch.no_grad():
            for name, module in model.named_modules():
                handle = module.register_forward_hook(partial(self._keep, name))
                stack.callback(handle.remove)
            forward()

    def _keep(self, name: str, module: nn.Module, args: tuple, output: Any) -> None:
        before = self.pop(name, None)
        version = output._version if isinstance(output, Tensor) else None
        self[name] = _Call(args, output, version, 1 + (before.count if before else 0))

    def is_map(self, name: str) -> bool:
        """Whether the output is a map that nothing has overwritten since."""
        call = self[name]
        return (
            isinstance(call.output, Tensor)
            and call.output.ndim == 4
            and call.output._version == call.version
        )

    def outermost(self, root: str) -> list[str]:
        """Submodules of ``root`` that were called by ``root`` itself."""
        names = [name for name in self if name.startswith(f'{root}.')]
        called = set(names)
        return [
            name
            for name in names
            if not any(name[:i] in called for i, char in enumerate(name) if char == '.')
        ]


def _outputs(name: str, call: _Call) -> dict[str, Tensor]:
    """A module's output by tap."""
    if isinstance(call.output, Tensor):
        return {name: call.output}
    if not isinstance(call.output, (tuple, list)):
        return {}
    return {
        f'{name}[{i}]': value for i, value in enumerate(call.output) if isinstance(value, Tensor)
    }


def _stride(image: Tensor, value: Tensor) -> int:
    return 2 ** round(math.log2(image.shape[2] / value.shape[2]))


def _stages(model: nn.Module, calls: _Calls, image: Tensor) -> list[Point]:
    """The backbone's last map of each stride, by the name of the module that made it."""
    last = {}
    for name in calls.outermost('backbone'):
        # A lone convolution, norm or ReLU is part of a stem.
        is_block = next(model.get_submodule(name).children(), None) is not None
        if is_block and calls.is_map(name):
            value = calls[name].output
            last[_stride(image, value)] = (name, value)
    for tap, value in _outputs('backbone', calls['backbone']).items():
        # What the backbone returns counts, where no module of its own made it.
        if value.ndim == 4 and not any(value is known for _, known in last.values()):
            last[_stride(image, value)] = (tap, value)
    points = []
    for stride, (tap, value) in sorted(last.items()):
        before = None
        for name, call in calls.items():
            is_relu = isinstance(model.get_submodule(name), (nn.ReLU, nn.ReLU6))
            if is_relu and name.startswith(f'{tap}.') and call.output is value:
                last_call = '@-1' if call.count > 1 else ''
                before = Point(f'{name}{last_call}:input', call.args[0], stride)
        points.append(Point(tap, value, stride, before))
    return points


def _classifier(model: nn.Module, image: Tensor, training_size: int | None) -> Anatomy:
    # As many images as the distiller's dry forward has, which losses see when they are built.
    image = image.repeat(2, 1, 1, 1)
    calls = _Calls(model, lambda: model(image, mode='tensor'))
    stages = _stages(model, calls, image)
    logits, vector = [], None
    if 'head' in calls and isinstance(calls['head'].output, Tensor):
        # The linear layer that made them has a name that readers know.
        logits = [Point('head', calls['head'].output)]
        for name, module in model.head.named_modules(prefix='head'):
            is_linear = isinstance(module, nn.Linear) and name in calls
            if is_linear and calls[name].output is logits[0].value:
                logits = [Point(name, calls[name].output)]
                vector = Point(f'{name}:input', calls[name].args[0])
    multi_label = bool(logits) and without_softmax(model, logits[0].tap) is not None
    if training_size is None:
        is_large = not stages or stages[-1].stride >= _IMAGENET_STRIDE
    else:
        is_large = training_size > _CIFAR_SIZE
    return Anatomy(
        IMAGENET if is_large else CIFAR,
        tuple(image.shape[1:]),
        stages,
        logits=[] if multi_label else logits,
        vector=vector,
        hard_labels=not multi_label
        and getattr(model.data_preprocessor, 'batch_augments', None) is None,
    )


def _detector(model: nn.Module, image: Tensor, training_size: int | None) -> Anatomy:
    from mmdet.models.task_modules import AnchorGenerator

    calls = _Calls(model, lambda: model.extract_feat(image))
    levels = [
        Point(tap, value, _stride(image, value))
        for tap, value in (_outputs('neck', calls['neck']) if 'neck' in calls else {}).items()
        if value.ndim == 4
    ]
    is_two_stage = getattr(model, 'roi_head', None) is not None
    logits = []
    if is_two_stage:
        for name, module in model.roi_head.named_modules(prefix='roi_head'):
            is_logits = name.startswith('roi_head.bbox_head') and name.endswith('.fc_cls')
            if is_logits and without_softmax(model, name) is None:
                logits.append(Point(name, torch.zeros(1, module.out_features)))
    head = 'rpn_head' if is_two_stage else 'bbox_head'
    generator = getattr(getattr(model, head, None), 'prior_generator', None)
    has_anchors = isinstance(generator, AnchorGenerator)
    return Anatomy(
        TWO_STAGE if is_two_stage else ANCHOR_BASED if has_anchors else ANCHOR_FREE,
        tuple(image.shape[1:]),
        _stages(model, calls, image),
        levels,
        logits,
        anchors=head if has_anchors else None,
        pad_size_divisor=getattr(model.data_preprocessor, 'pad_size_divisor', 1),
    )


def build(cfg: Config, what: str) -> nn.Module:
    """Build the plain model of a config, without weights, to look at.

    Args:
        cfg (Config): The config.
        what (str): What it is to the user, for messages.

    Raises:
        ValueError: If the config has no model, or one of another kind than is known here.
    """
    if 'model' not in cfg:
        raise ValueError(f'{what} has no model; give the config of a whole network')
    model_cfg = plain_model(cfg)
    if cfg.get('default_scope') is not None:
        model_cfg['_scope_'] = cfg.default_scope
    model = MODELS.build(model_cfg)
    known = isinstance(model, ImageClassifier)
    if not known:
        # mmdet takes seconds to import: not for those who distil classifiers.
        from mmdet.models import BaseDetector

        known = isinstance(model, BaseDetector)
    if not known or getattr(model, 'backbone', None) is None:
        raise ValueError(
            f'{what} is a {type(model).__name__}; its taps are found for the ImageClassifier of '
            "mmpretrain and for mmdet's detectors: write the config by hand for others"
        )
    return model.eval()


def training_size(cfg: Config) -> int | None:
    """Side of the images that a classifier's config trains with; None if it does not say."""
    dataset = cfg.get('train_dataloader') or {}
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    for step in reversed(dataset.get('pipeline', [])):
        for key in ('crop_size', 'size', 'scale'):
            size = step.get(key)
            size = size[0] if isinstance(size, (tuple, list)) else size
            # torchvision's transforms have fractions under these names.
            if isinstance(size, int):
                return size
    return None


def _sizes(models: list[nn.Module], size: int | None) -> list[int]:
    """Image sizes to try: the default, that of training, and what transformers are made for."""
    sizes = [_CLASSIFIER_SIZE, size, *(image_size(model) for model in models)]
    sizes = [size[0] if isinstance(size, tuple) else size for size in sizes]
    return [size for size in dict.fromkeys(sizes) if size is not None]


def examine(
    student: nn.Module, teacher: nn.Module, size: int | None = None
) -> tuple[Anatomy, Anatomy]:
    """Look at both models with one image that both take.

    Args:
        student (nn.Module): The student, from :func:`build`.
        teacher (nn.Module): The teacher, from :func:`build`.
        size (int, optional): The size that the student trains with, if it is a classifier.

    Raises:
        ValueError: If one is a classifier and the other a detector, or no size suits both.
    """
    classifies = [isinstance(model, ImageClassifier) for model in (student, teacher)]
    if classifies[0] != classifies[1]:
        names = [type(model).__name__ for model in (student, teacher)]
        raise ValueError(
            f'the student is of type {names[0]} and the teacher of type {names[1]}; give two '
            'classifiers or two detectors'
        )
    look = _classifier if classifies[0] else _detector
    channels = getattr(student.data_preprocessor, 'mean', torch.zeros(3)).numel()
    errors = []
    for side in _sizes([student, teacher], size) if classifies[0] else [_DETECTOR_SIZE]:
        image = torch.linspace(-1, 1, channels * side * side).view(1, channels, side, side)
        try:
            return look(student, image, size), look(teacher, image, size)
        # What mmpretrain's networks raise for an image of a size that they do not take.
        except (AssertionError, RuntimeError, ValueError) as error:
            errors.append(f'{side}x{side}: {error}')
    raise ValueError(
        f'student and teacher take no image of a common size ({"; ".join(errors)}); choose models '
        'for images of one size'
    )
