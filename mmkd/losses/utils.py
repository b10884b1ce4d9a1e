"""Checks and small operations that several losses share."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from .base import Tapped, check_same_shape, fp32, paired

SAME_CLASSES = 'student and teacher must predict the same classes, in the same order'


def _check_sides(
    ndim: int, takes: str, tap: str, loss: str, student: Tapped, teacher: Tapped
) -> None:
    """Raise unless both sides are equally many tensors of ``ndim`` dimensions."""
    for s, t in paired(student, teacher):
        if s.ndim != ndim or t.ndim != ndim:
            raise ValueError(
                f'{loss} takes {takes}, found student {tuple(s.shape)} and teacher '
                f'{tuple(t.shape)}; tap {tap}'
            )


#: As :func:`check_logits`, of maps and of vectors of any size.
check_maps = partial(
    _check_sides,
    4,
    'maps (N, C, H, W)',
    "stages, such as 'backbone.layer2', or make tokens a map with dict(tap=..., to='map')",
)
check_vectors = partial(
    _check_sides, 2, 'vectors (N, C)', "the pooled vector, such as 'head.fc:input'"
)


def check_logits(loss: str, student: Tapped, teacher: Tapped) -> None:
    """Raise unless both sides are equally many logits (N, K) with the same K.

    Args:
        loss (str): Name of the loss, for the message.
        student (Tensor | sequence of Tensor): Student side.
        teacher (Tensor | sequence of Tensor): Teacher side.

    Raises:
        ValueError: If they are not.
    """
    tap = "the classifier, such as 'head.fc' or 'roi_head.bbox_head.fc_cls'"
    _check_sides(2, 'logits (N, K)', tap, loss, student, teacher)
    for s, t in paired(student, teacher):
        check_same_shape(s, t, SAME_CLASSES)
        if s.shape[1] == 1:
            raise ValueError(
                f'{loss} takes a softmax over classes, which is always 1 for the one class of '
                f'logits {tuple(s.shape)}: the loss would be 0; take a loss of sigmoid scores, '
                'such as QualityFocalKDLoss on maps'
            )


def check_positions(loss: str, student: Tapped, teacher: Tapped) -> None:
    """Raise if a loss that compares the positions of maps gets maps of one position only.

    Args:
        loss (str): Name of the loss, for the message.
        student (Tensor | sequence of Tensor): Student side, maps.
        teacher (Tensor | sequence of Tensor): Teacher side, maps.

    Raises:
        ValueError: If every level is a single position on either side.
    """
    pairs = paired(student, teacher)
    if all(min(x.shape[2:].numel() for x in pair) == 1 for pair in pairs):
        shapes = [tuple(x.shape) for x in pairs[0]]
        raise ValueError(
            f'{loss} compares the positions of a map and is 0, without gradient, on maps of one '
            f'position, found student {shapes[0]} and teacher {shapes[1]}; tap an earlier stage, '
            'or, if only the images of the dry forward are so small, set model.input_shape to '
            'the size of the training images'
        )


def check_same_size(loss: str, student: Tapped, teacher: Tapped) -> None:
    """Raise unless both sides are equally many maps (N, C, H, W) of equal heights and widths.

    Args:
        loss (str): Name of the loss, for the message.
        student (Tensor | sequence of Tensor): Student side.
        teacher (Tensor | sequence of Tensor): Teacher side.

    Raises:
        ValueError: If they are not.
    """
    check_maps(loss, student, teacher)
    for s, t in paired(student, teacher):
        if s.shape[2:] != t.shape[2:]:
            raise ValueError(
                f'{loss} compares maps of equal height and width, found student '
                f'{tuple(s.shape)} and teacher {tuple(t.shape)}; tap levels of the same stride, '
                "such as 'neck[1]' of a neck that starts at stride 4 and 'neck[0]' of one at 8, or "
                f"resize one with dict(tap=..., to='map', size={tuple(t.shape[2:])})"
            )


def align_channels(loss: str, student: Tapped, teacher: Tapped) -> nn.ModuleList:
    """One layer a level that gives the student's map the teacher's number of channels.

    Args:
        loss (str): Name of the loss, for the message.
        student (Tensor | sequence of Tensor): Student side.
        teacher (Tensor | sequence of Tensor): Teacher side.

    Returns:
        nn.ModuleList: 1x1 convolutions, or identities where the channels agree.

    Raises:
        ValueError: If the sides are not equally many maps of equal sizes.
    """
    check_same_size(loss, student, teacher)
    channels = [(s.shape[1], t.shape[1]) for s, t in paired(student, teacher)]
    return nn.ModuleList(
        nn.Identity() if ours == theirs else nn.Conv2d(ours, theirs, kernel_size=1)
        for ours, theirs in channels
    )


def match_maps(
    loss: str,
    student: Tapped,
    teacher: Tapped,
    keep_equal: bool = False,
    norm: bool = False,
    relu: bool = False,
) -> nn.ModuleList:
    """One layer a level that gives the student's map the teacher's channels, height and width.

    A 1x1 convolution for equal sizes; a 3x3 one of stride 2 where the student's map is twice as
    large as the teacher's, a transposed 4x4 one of stride 2 where it is half as large, as in the
    benchmark of Contrastive Representation Distillation, with torch's initialisation as there.

    Args:
        loss (str): Name of the loss, for the message.
        student (Tensor | sequence of Tensor): Student side.
        teacher (Tensor | sequence of Tensor): Teacher side.
        keep_equal (bool): Whether maps of equal shape get an identity. Defaults to False.
        norm (bool): Whether a batch norm follows the convolution. Defaults to False.
        relu (bool): Whether a ReLU comes last. Defaults to False.

    Raises:
        ValueError: If the sides are not equally many maps of such sizes.
    """
    check_maps(loss, student, teacher)
    layers = nn.ModuleList()
    for s, t in paired(student, teacher):
        if keep_equal and s.shape == t.shape:
            layers.append(nn.Identity())
            continue
        size_s, size_t = tuple(s.shape[2:]), tuple(t.shape[2:])
        if size_s == size_t:
            conv = partial(nn.Conv2d, kernel_size=1)
        elif size_s == tuple(2 * n for n in size_t):
            conv = partial(nn.Conv2d, kernel_size=3, stride=2, padding=1)
        elif size_t == tuple(2 * n for n in size_s):
            conv = partial(nn.ConvTranspose2d, kernel_size=4, stride=2, padding=1)
        else:
            raise ValueError(
                f'{loss} compares maps of equal size, or one twice as large as the other; found '
                f'student {tuple(s.shape)} and teacher {tuple(t.shape)}; tap levels of closer '
                f"strides, or resize one with dict(tap=..., to='map', size={size_s})"
            )
        layer = nn.Sequential()
        layer.add_module('conv', conv(s.shape[1], t.shape[1], bias=not norm))
        if norm:
            layer.add_module('bn', nn.BatchNorm2d(t.shape[1]))
        if relu:
            layer.add_module('activate', nn.ReLU(inplace=True))
        layers.append(layer)
    return layers


def pool_to_smaller(first: Tensor, second: Tensor) -> list[Tensor]:
    """Average-pool the larger of two maps to the height and width of the smaller."""
    size = tuple(min(a, b) for a, b in zip(first.shape[2:], second.shape[2:], strict=True))
    return [x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size) for x in (first, second)]


def pad_boxes(data_samples: list) -> Tensor:
    """Ground-truth boxes of a batch, (N, B, 4), B >= 1, filled up with boxes of no area."""
    # Here and below: mmdet and torchvision take seconds to import, which classifiers need not.
    from mmdet.structures.bbox import get_box_tensor

    boxes = (get_box_tensor(sample.gt_instances.bboxes) for sample in data_samples)
    return pad_sequence([F.pad(b, (0, 0, 0, 1)) for b in boxes], batch_first=True)


@fp32
def squared_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum of ``(student - teacher)^2`` over an image, mean over images, in float32."""
    return F.mse_loss(student, teacher, reduction='sum') / len(teacher)


class _ChannelsLast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
        return x.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous(memory_format=ctx.layout)


def channels_last(x: Tensor) -> Tensor:
    """The same map, (N, C, H, W), with the channels of a position side by side in memory.

    What convolves it then takes less time, on a CPU with 1x1 kernels half of it. The gradient comes
    back in the layout of ``x``, as that of other losses does; of two that differ the sum is slow,
    and all that is before would go on in either layout.
    """
    return _ChannelsLast.apply(x)
