"""Parameters, FLOPs and latency of the students and teachers of a config.

A FLOP is a multiplication and an addition of a convolution or a matrix product. They are those of
one image: of a classifier up to its logits, of a detector up to its boxes, so that those of a
two-stage one depend on how many proposals it makes of noise with random weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from torch import nn
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

import mmkd  # noqa: F401
from mmkd.distillers.teacher import frozen_teachers, teacher_model
from mmkd.engine.config import read_config
from mmkd.models.image_shape import image_size
from mmkd.publish import num_students, plain_model
from mmkd.recipes.anatomy import training_size
from mmkd.registry import MODELS


def networks(cfg: Config) -> Iterator[tuple[str, nn.Module]]:
    """Students and teachers of a config by name, with random weights."""
    count = num_students(cfg)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for index in range(count):
            yield (
                'student' if count == 1 else f'net{index + 1}',
                MODELS.build(plain_model(cfg, index)),
            )
        for name, teacher in frozen_teachers(cfg.model).items():
            yield name, MODELS.build(teacher_model(teacher['config'], f'model.{name}'))


@torch.no_grad()
def cost(model: nn.Module, shape: Sequence[int]) -> dict[str, float]:
    """Parameters, FLOPs and median latency in seconds of one image (C, H, W)."""
    model = model.to(get_device()).eval()
    image = torch.rand(1, *shape, device=get_device())
    if isinstance(model, ImageClassifier):
        arguments = dict(mode='tensor')
    else:
        from mmdet.structures import DetDataSample

        size = tuple(shape[1:])
        meta = dict(img_shape=size, ori_shape=size, batch_input_shape=size, pad_shape=size)
        sample = DetDataSample(metainfo=dict(meta, scale_factor=(1.0, 1.0)))
        arguments = dict(data_samples=[sample], mode='predict')
    with FlopCounterMode(display=False) as counter:
        model(image, **arguments)
    timer = Timer(
        'model(image, **arguments)', globals=dict(model=model, image=image, arguments=arguments)
    )
    return dict(
        parameters=sum(p.numel() for p in model.parameters()),
        flops=counter.get_total_flops() // 2,
        latency=timer.blocked_autorange(min_run_time=0.5).median,
    )


class _Shape(argparse.Action):
    """One number of pixels, or two, as height and width."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        if len(values) > 2 or min(values) < 1:
            parser.error(f'--shape {values}: give one positive number, or two')
        namespace.shape = (values[0], values[-1])


def add_shape_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of tools that run a config's networks on images without data."""
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        action=_Shape,
        help='height and width of the image, or one number for both; by default that of training, '
        'of the backbone, or 800 1280 for a detector and 224 for a classifier',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE'
    )


def default_size(cfg: Config, network: nn.Module) -> tuple[int, int]:
    """Height and width of images for a network of a config, where ``--shape`` says none."""
    if not isinstance(network, ImageClassifier):
        return 800, 1280
    side = training_size(cfg)
    return (side, side) if side else image_size(network) or (224, 224)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of a distiller or of a plain model')
    add_shape_arguments(parser)
    args = parser.parse_args(argv)
    cfg = read_config(args.config, 'CONFIG')
    cfg.merge_from_dict(args.cfg_options)
    found = dict(networks(cfg))
    size = args.shape or default_size(cfg, next(iter(found.values())))
    rows = {name: cost(model, (3, *size)) for name, model in found.items()}
    print(f'{size[0]}x{size[1]}, {get_device()}')
    print(f'{"":12}{"M parameters":>14}{"GFLOPs":>10}{"ms":>10}')
    for name, row in rows.items():
        cells = f'{row["parameters"] / 1e6:14.3f}{row["flops"] / 1e9:10.3f}'
        print(f'{name:12}{cells}{row["latency"] * 1e3:10.2f}')
    student = next(iter(rows.values()))
    for name in rows.keys() - {'student'} if 'student' in rows else ():
        ratios = (rows[name][key] / student[key] for key in ('parameters', 'flops', 'latency'))
        label = f'{name} / student'
        print(f'{label:18}{next(ratios):8.2f}{next(ratios):10.2f}{next(ratios):10.2f}')
