"""Crop and flip a whole batch on the device, in place of image after image in the loader."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.transforms import RandomFlip
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmpretrain.datasets.transforms import PackInputs, RandomCrop
from torch import Tensor, nn

from mmkd.registry import HOOKS

from .check_data import parts
from .unwrapped import unwrapped

_TAKES = (
    'DeviceAugmentHook takes RandomCrop(crop_size=SIZE, padding=NUMBER), '
    "RandomCrop(crop_size=SIZE, pad_if_needed=True, padding_mode='constant' or 'reflect') and "
    "RandomFlip(prob=NUMBER, direction='horizontal') that stand right before PackInputs in "
    'train_dataloader.dataset.pipeline'
)


@HOOKS.register_module()
class DeviceAugmentHook(Hook):
    """Crop and flip training batches on the device instead of images in the data loader.

    The ``RandomCrop`` and ``RandomFlip`` right before ``PackInputs`` are taken out of the training
    pipeline, and the data preprocessor does what they did to each training batch, before anything
    else. Every image has its own draws, so batches are distributed as those of the pipeline, and a
    teacher sees what its student sees. As it is the training process that draws,
    :class:`StepSeedHook` makes a resumed run equal, also with workers that persist.

    For images of one size that are small, such as CIFAR's, which ``default_collate`` stacks.

    Raises:
        TypeError: If the loader does not stack its images.
        ValueError: If the pipeline has nothing to take, or something that cannot be taken over, or
            if the images would change their size.

    Example:
        >>> default_hooks = dict(device_augment=dict(type='mmkd.DeviceAugmentHook'))
    """

    # Before a phase of pre-training, which is HIGH.
    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        if isinstance(runner.train_loop, IterBasedTrainLoop) and loader.num_workers:
            raise ValueError(
                'DeviceAugmentHook: the workers of an iteration-based loop have started with the '
                'whole pipeline; set train_dataloader.num_workers=0 or train_cfg.by_epoch=True'
            )
        taken = [_take(getattr(part, 'pipeline', None)) for part in parts(loader.dataset)]
        steps = taken[0]
        if any(repr(other) != repr(steps) for other in taken):
            raise ValueError(
                f'DeviceAugmentHook: the data sets of train_dataloader.dataset end with {taken}, '
                'expected the same in each; remove the hook or make them alike'
            )

        def augment(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
            data, training = _arguments(*args, **kwargs)
            if not training:
                return None
            images = module.cast_data(data['inputs'])
            return ({**data, 'inputs': crop_and_flip(images, steps)}, True), {}

        unwrapped(runner).data_preprocessor.register_forward_pre_hook(augment, with_kwargs=True)
        runner.logger.info(f'On the device, in place of the data loader: {steps}')


def _arguments(data: dict, training: bool = False) -> tuple[dict, bool]:
    """As a data preprocessor takes them."""
    return data, training


def _take(pipeline: Any) -> list[RandomCrop | RandomFlip]:
    """Take out of a pipeline, and return, the crops and flips right before PackInputs."""
    steps = list(getattr(pipeline, 'transforms', ()))
    end = start = len(steps) - 1
    while start > 0 and type(steps[start - 1]) in (RandomCrop, RandomFlip):
        start -= 1
    taken = steps[start:end]
    if not taken or type(steps[end]) is not PackInputs or not all(map(_can_take, taken)):
        raise ValueError(f'{_TAKES}, found {steps}; remove the hook or correct the pipeline')
    del pipeline.transforms[start:end]
    return taken


def _can_take(step: RandomCrop | RandomFlip) -> bool:
    if isinstance(step, RandomFlip):
        return isinstance(step.prob, float) and step.direction == 'horizontal'
    if not isinstance(step.padding, (int, type(None))) or step.pad_val != 0:
        return False
    # mmpretrain fills with pad_val what padding adds, whatever padding_mode says.
    modes = ('constant', 'reflect') if step.padding is None else ('constant',)
    return step.padding_mode in modes


def crop_and_flip(images: Tensor, steps: Sequence[RandomCrop | RandomFlip]) -> Tensor:
    """Do to a batch what steps of a pipeline do to each of its images.

    Args:
        images (Tensor): Batch of any dtype, (N, C, H, W).
        steps (sequence of RandomCrop or RandomFlip): With arguments as the hook takes them.

    Returns:
        Tensor: Batch, (N, C, H, W), on the same device.

    Raises:
        TypeError: If the images are not stacked.
        ValueError: If the result would have another size.
    """
    if not isinstance(images, Tensor):
        raise TypeError(
            f'DeviceAugmentHook: the data loader gives a {type(images).__name__} of images, '
            "expected one tensor; set train_dataloader.collate_fn=dict(type='default_collate')"
        )
    result = images
    for step in steps:
        result = (_flip if isinstance(step, RandomFlip) else _crop)(result, step)
    if result.shape != images.shape:
        raise ValueError(
            f'DeviceAugmentHook: {steps} make {tuple(result.shape[2:])} of images of '
            f'{tuple(images.shape[2:])}, expected the same size; remove the hook or set crop_size '
            f'to {tuple(images.shape[2:])}'
        )
    return result


def _crop(images: Tensor, step: RandomCrop) -> Tensor:
    if step.padding is not None:
        images = F.pad(images, (step.padding,) * 4)
    if step.pad_if_needed:
        images = _pad_to(images, step.crop_size, step.padding_mode)
    # One whole-number draw a side and image: where the crop begins.
    rows, columns = (
        torch.randint(side - kept + 1, (len(images), 1), device=images.device)
        + torch.arange(kept, device=images.device)
        for side, kept in (
            (side, min(side, wanted))
            for side, wanted in zip(images.shape[2:], step.crop_size, strict=True)
        )
    )
    positions = (rows[:, :, None] * images.shape[3] + columns[:, None]).flatten(1)
    positions = positions[:, None].expand(-1, images.shape[1], -1)
    size = (rows.shape[1], columns.shape[1])
    return images.flatten(2).gather(2, positions).unflatten(2, size)


def _pad_to(images: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """Pad both ends of a side that is shorter than wanted, equally."""
    pads = [
        math.ceil(max(0, wanted - side) / 2)
        for side, wanted in zip(images.shape[2:], size, strict=True)
    ]
    if mode == 'constant':
        return F.pad(images, (pads[1], pads[1], pads[0], pads[0]))
    # By indices, as torch does not reflect whole numbers on every device.
    rows, columns = (
        _reflected(side, pad, images.device)
        for side, pad in zip(images.shape[2:], pads, strict=True)
    )
    return images[:, :, rows[:, None], columns]


def _reflected(side: int, pad: int, device: torch.device) -> Tensor:
    """Positions of a padded side in the side, its ends not repeated."""
    positions = torch.arange(-pad, side + pad, device=device).abs()
    return side - 1 - (side - 1 - positions).abs()


def _flip(images: Tensor, step: RandomFlip) -> Tensor:
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < step.prob
    return torch.where(chosen, images.flip(3), images)
