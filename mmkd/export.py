"""From a plain model to an ONNX file that needs neither mmkd nor torch.

The input is ``images``, (N, C, H, W): normalised, and of a detector padded, as the model's data
preprocessor leaves them. N is free; C, H and W are those of the export. Outputs by model:

* mmpretrain's ``ImageClassifier``: ``logits``, (N, num_classes).
* :class:`~mmkd.models.MultiExitClassifier`: the logits of all classifiers by their names,
  ``exit1``, ``exit2``, ..., ``main``, (N, num_classes) each.
* mmdet's ``SingleStageDetector``: what ``bbox_head`` gives before decoding and NMS, by the names of
  the arguments of its ``predict_by_feat``, and by level: ``cls_score_0``, ..., ``bbox_pred_0``, ...
  (with a centerness or the like ``score_factor_0``, ...), (N, A * K, H_l, W_l) each.
* mmdet's ``TwoStageDetector``: maps of the neck, ``feat_0``, ..., (N, C, H_l, W_l), and what
  ``rpn_head`` gives, ``rpn_cls_score_0``, ..., ``rpn_bbox_pred_0``, .... Proposals and the RoI head
  are left out: how many boxes there are depends on the image.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from mmkd.models import MultiExitClassifier
from mmkd.modes import evaluating
from mmkd.recipes.anatomy import training_size

#: Side of a detector's images where its config does not say.
_DETECTOR_SIZE = 640
#: Images in the batch that is traced and in the one that is compared.
_TRACED, _COMPARED = 1, 2
#: Allowed difference between onnxruntime and torch, of a value and of the largest one.
_TOLERANCE = 1e-3


class Graph(nn.Module):
    """Images in, a tuple of tensors out; :attr:`names` says what they are after a forward.

    Args:
        model (nn.Module): One of the models that this module's text lists.

    Raises:
        TypeError: For another model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.names = []
        #: What of the model is left out, in words.
        self.left_out = None
        if isinstance(model, MultiExitClassifier):
            self._run = self._exits
        elif isinstance(model, ImageClassifier):
            self._run = self._logits
        else:
            self._run = self._of_detector()

    def _of_detector(self) -> Any:
        # mmdet takes seconds to import: not for those who export classifiers.
        from mmdet.models import SingleStageDetector, TwoStageDetector

        model = self.model
        two_stage, one_stage = (
            isinstance(model, c) for c in (TwoStageDetector, SingleStageDetector)
        )
        head = getattr(model, 'rpn_head' if two_stage else 'bbox_head', None)
        if two_stage and (head is None or hasattr(head, 'predict_by_feat')):
            self.left_out = 'proposals and roi_head'
            return self._two_stage
        if one_stage and hasattr(head, 'predict_by_feat'):
            self.left_out = 'decoding of boxes and NMS'
            return self._one_stage
        raise TypeError(
            f'a {type(model).__name__} is not exported to ONNX; classifiers of mmpretrain are, and '
            "mmdet's one-stage detectors and two-stage detectors with an RPN"
        )

    def _logits(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        logits = self.model(images, mode='tensor')
        if not isinstance(logits, Tensor):
            raise TypeError(f'its head gives a {type(logits).__name__}, expected the logits')
        yield 'logits', logits

    def _exits(self, images: Tensor) -> Iterable[tuple[str, Tensor]]:
        return zip(self.model.names, self.model.outputs(images).logits, strict=True)

    def _one_stage(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        return _levels(self.model.bbox_head, self.model.extract_feat(images))

    def _two_stage(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        maps = self.model.extract_feat(images)
        for level, value in enumerate(maps):
            yield f'feat_{level}', value
        if self.model.with_rpn:
            for name, value in _levels(self.model.rpn_head, maps):
                yield f'rpn_{name}', value

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.names, values = zip(*self._run(images), strict=True)
        return values


def _levels(head: nn.Module, maps: tuple[Tensor, ...]) -> Iterator[tuple[str, Tensor]]:
    """What a dense head gives, level by level."""
    outputs = head(maps)
    # BaseDenseHead.predict passes them on in this order, and other arguments after them.
    names = list(signature(head.predict_by_feat).parameters)[: len(outputs)]
    for argument, values in zip(names, outputs, strict=True):
        name = re.sub(r'(?:(?<=ss)e)?s$', '', argument)
        for level, value in enumerate(values):
            yield f'{name}_{level}', value


def image_shape(model: nn.Module, cfg: Config) -> tuple[int, int, int]:
    """Shape (C, H, W) of the images that a config means.

    A classifier's size is that of training; a detector's is the largest that the test pipeline
    gives, padded, and 640 x 640 where it does not say.

    Raises:
        ValueError: If the config of a classifier does not say.
    """
    preprocessor = getattr(model, 'data_preprocessor', None)
    channels = getattr(preprocessor, 'mean', torch.zeros(3)).numel()
    if isinstance(model, (MultiExitClassifier, ImageClassifier)):
        size = training_size(cfg)
        if size is None:
            raise ValueError(
                'the train_dataloader of the config does not say how large images are; give '
                '--shape C H W, such as --shape 3 32 32'
            )
        return channels, size, size
    width, height = _DETECTOR_SIZE, _DETECTOR_SIZE
    dataset = cfg.get('test_dataloader') or {}
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    for step in dataset.get('pipeline', []):
        if step['type'] == 'Resize' and isinstance(step.get('scale'), (tuple, list)):
            width, height = step['scale']
    divisor = getattr(preprocessor, 'pad_size_divisor', 1)
    return channels, *(math.ceil(side / divisor) * divisor for side in (height, width))


def require_onnx() -> None:
    """Raise a ModuleNotFoundError that says what to install if there is no ``onnx``."""
    if importlib.util.find_spec('onnx') is None:
        raise ModuleNotFoundError('--onnx needs the package onnx: pip install onnx onnxruntime')


@torch.no_grad()
def export(model: nn.Module, path: str | Path, shape: tuple[int, int, int]) -> list[str]:
    """Write a model to an ONNX file, and compare what onnxruntime makes of it with torch.

    The file appears whole and compared, or not at all. Without onnxruntime it is not compared.

    Args:
        model (nn.Module): A plain model with its weights.
        path (str | Path): The file to write.
        shape (tuple[int]): Of an image, (C, H, W).

    Returns:
        list[str]: What to tell the user: inputs and outputs, what is left out, what was compared.

    Raises:
        TypeError: If the model is of a kind that is not exported.
        ValueError: If it does not run on such images, or torch cannot write it.
        RuntimeError: If onnxruntime gives something else.
    """
    require_onnx()
    path, graph = Path(path), Graph(model)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(_COMPARED, *shape, generator=generator)
    path.parent.mkdir(parents=True, exist_ok=True)
    with evaluating(graph), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        file = Path(folder, path.name)
        try:
            expected = graph(images)
            _write(graph, images[:_TRACED], file)
        # What networks raise for images of a size they do not take, and torch for an operator.
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f'a {type(model).__name__} cannot be exported to ONNX for images of shape '
                f'{tuple(shape)}: {error}; give another --shape, or a model without what is named'
            ) from error
        compared = _compare(file, images, dict(zip(graph.names, expected, strict=True)))
        os.replace(file, path)
    outputs = [f'{name} {_size(value)}' for name, value in zip(graph.names, expected, strict=True)]
    said = [f'images {_size(images)}, normalised, give {", ".join(outputs)}']
    if graph.left_out is not None:
        said.append(f'left out: {graph.left_out}')
    said.append(
        f'onnxruntime gives what torch gives for a batch of {_COMPARED}'
        if compared
        else 'not compared with torch: pip install onnxruntime'
    )
    return said


def _size(value: Tensor) -> str:
    return f'({", ".join(["N", *map(str, value.shape[1:])])})'


def _write(graph: Graph, images: Tensor, file: Path) -> None:
    with warnings.catch_warnings():
        # Of shapes that become constants, which the comparison would find, and of the exporter's
        # age: the newer one needs onnxscript.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            graph,
            (images,),
            str(file),
            input_names=['images'],
            output_names=list(graph.names),
            dynamic_axes={name: {0: 'N'} for name in ('images', *graph.names)},
            dynamo=False,
        )


def _compare(file: Path, images: Tensor, expected: dict[str, Tensor]) -> bool:
    """Whether onnxruntime is there to compare; raises a RuntimeError where it differs."""
    if importlib.util.find_spec('onnxruntime') is None:
        return False
    import onnxruntime

    advice = 'nothing was written; please report it with the config'
    try:
        session = onnxruntime.InferenceSession(str(file), providers=['CPUExecutionProvider'])
        found = session.run(list(expected), {'images': images.numpy()})
    # onnxruntime's errors have no other base.
    except Exception as error:
        raise RuntimeError(f'onnxruntime does not run the export ({error}); {advice}') from error
    for (name, value), other in zip(expected.items(), map(torch.from_numpy, found), strict=True):
        scale = value.abs().max().item()
        if value.shape != other.shape or not torch.allclose(
            other, value, rtol=_TOLERANCE, atol=_TOLERANCE * scale
        ):
            difference = (
                f'differ by up to {(other - value).abs().max().item():.3g}'
                if value.shape == other.shape
                else f'have shape {tuple(other.shape)} instead of {tuple(value.shape)}'
            )
            raise RuntimeError(
                f'onnxruntime does not give what torch gives: the {name} of a batch of '
                f'{len(images)} {difference} (largest value {scale:.3g}); {advice}'
            )
    return True
