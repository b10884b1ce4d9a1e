"""Draw a batch of the training data as the student gets it, and as each teacher does.

A picture a row, after augmentation, padding and resizing, with its ground truth. A network's pixels
are drawn by its own mean, std and channel order, so that all of them should look alike; above them
stand height x width, mean and std of the numbers that it is given.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.config import Config, DictAction
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor, nn

import mmkd  # noqa: F401  (safe loading)
from mmkd.analysis.picture import draw_boxes, is_bgr, pixels
from mmkd.engine.config import read_config
from mmkd.registry import MODELS


def views(model: nn.Module, batch: dict) -> Iterator[tuple[str, nn.Module, Tensor, Sequence]]:
    """Name, data preprocessor, (N, C, H, W) inputs and samples of the student and each teacher."""
    data = model.data_preprocessor(batch, True)
    inputs, samples = data['inputs'], data['data_samples'] or [None] * len(data['inputs'])
    yield 'student', model.data_preprocessor, inputs, samples
    for name, teacher in getattr(model, 'teachers', {}).items():
        seen = teacher.renormalize(inputs, data['data_samples'])
        yield name or 'teacher', teacher.model.data_preprocessor, seen, samples


def draw_truth(axes: Axes, sample: Any, classes: Sequence[str], scale: tuple[float, float]) -> str:
    """Draw boxes, if there are any; return what to write below the picture."""
    truth, labels = (getattr(sample, key, None) for key in ('gt_instances', 'gt_label'))
    has_boxes = truth is not None and 'bboxes' in truth
    # An image that is marked has a class all the same (MarkUnlabelled).
    if getattr(sample, 'unlabelled', False) or (labels is None and not has_boxes):
        return 'no labels'
    if not has_boxes:
        return ', '.join(name(classes, i) for i in labels.tolist())
    height, width = scale
    boxes = getattr(truth.bboxes, 'tensor', truth.bboxes)
    boxes = boxes.cpu().numpy() * (width, height, width, height)
    draw_boxes(axes, boxes, [name(classes, label) for label in truth.labels.tolist()])
    return f'{len(boxes)} boxes'


def name(classes: Sequence[str], index: int) -> str:
    return classes[index] if index < len(classes) else str(index)


def draw(cfg: Config, model: nn.Module, count: int) -> Figure:
    """The picture of the first ``count`` images of a batch."""
    loader = Runner.build_dataloader(
        cfg.train_dataloader, seed=cfg.get('randomness', {}).get('seed')
    )
    classes = loader.dataset.metainfo.get('classes') or ()
    blue_first = is_bgr(loader.dataset)
    with torch.no_grad():
        columns = list(views(model, next(iter(loader))))
    count = min(count, len(columns[0][2]))
    figure = Figure(figsize=(3 * len(columns), 3.2 * count), layout='constrained')
    grid = figure.subplots(count, len(columns), squeeze=False)
    height, width = columns[0][2].shape[2:]
    for column, (label, preprocessor, inputs, samples) in enumerate(columns):
        scale = (inputs.shape[2] / height, inputs.shape[3] / width)
        for axes, image, sample in zip(grid[:, column], inputs, samples, strict=False):
            axes.imshow(pixels(image, preprocessor, blue_first))
            axes.set(xticks=[], yticks=[])
            axes.set_title(
                f'{label}, {inputs.shape[2]}x{inputs.shape[3]}\n'
                f'mean {image.mean():.2f}, std {image.std():.2f}',
                fontsize=8,
            )
            axes.set_xlabel(draw_truth(axes, sample, classes, scale), fontsize=8)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of a distiller or of a plain model')
    parser.add_argument('--out', default='browse.png', help='picture to write, by default here')
    parser.add_argument('--num', type=int, default=4, help='how many images; 4 by default')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    args = parser.parse_args(argv)
    if args.num < 1:
        parser.error(f'--num {args.num}: give 1 or more')
    cfg = read_config(args.config, 'CONFIG')
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    preprocessor = cfg.get('data_preprocessor')
    if preprocessor is not None:
        cfg.model.setdefault('data_preprocessor', preprocessor)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        figure = draw(cfg, MODELS.build(cfg.model), args.num)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=120)
    print(args.out)
