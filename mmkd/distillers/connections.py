"""What a generated teacher is given of its student's features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial, reduce

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmkd.registry import MODELS
from mmkd.taps import Taps


class _PrefixProducts(torch.autograd.Function):
    """``y_l = W_l x[:, :n_l] + b_l`` for several l, without a copy of x for any of them.

    The derivative of a slice would be as large as all of x, for every l.

    Shapes: x (N, C, P), then all W_l (C_l, n_l), then all b_l (C_l,); y_l (N, C_l, P).
    """

    @staticmethod
    def forward(ctx, x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        count = len(parameters) // 2
        weights, biases = parameters[:count], parameters[count:]
        ctx.save_for_backward(x, *weights)
        return tuple(
            torch.baddbmm(b[:, None], w.expand(len(x), -1, -1), x[:, : w.shape[1]])
            for w, b in zip(weights, biases, strict=True)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, ...]:
        x, *weights = ctx.saved_tensors
        of_x, of_weights = torch.zeros_like(x), []
        for weight, grad in zip(weights, grads, strict=True):
            channels = weight.shape[1]
            of_weights.append((grad @ x[:, :channels].mT).sum(0))
            of_x[:, :channels].baddbmm_(weight.mT.expand(len(x), -1, -1), grad)
        return of_x, *of_weights, *(grad.sum((0, 2)) for grad in grads)


def prefix_convolutions(
    maps: Sequence[Tensor], convs: Sequence[Sequence[nn.Conv2d]]
) -> list[Tensor]:
    """Sums of 1x1 convolutions of the first few of some maps.

    Args:
        maps (sequence of Tensor): (N, C_k, H, W) each.
        convs (sequence of sequence of nn.Conv2d): For each sum the convolutions of the maps
            from the first on, to the same number of channels.

    Returns:
        list[Tensor]: (N, C_l, H, W) each.
    """
    x = torch.cat(list(maps), dim=1)
    weights = [torch.cat([conv.weight.flatten(1) for conv in some], dim=1) for some in convs]
    biases = [
        torch.stack([conv.bias for conv in some]).sum(0)
        if some[0].bias is not None
        else some[0].weight.new_zeros(some[0].out_channels)
        for some in convs
    ]
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, *parameters = (value.to(dtype) for value in (x, *weights, *biases))
    else:
        parameters = [*weights, *biases]
    with torch.autocast(device, enabled=False):
        sums = _PrefixProducts.apply(x.flatten(2), *parameters)
    return [value.unflatten(2, x.shape[2:]) for value in sums]


def plain_convolution(module: nn.Module) -> nn.Conv2d | None:
    """The 1x1 convolution that a module is, if it is that and no more."""
    if isinstance(module, ConvModule) and not (
        module.with_norm
        or module.with_activation
        or module.with_spectral_norm
        or module.with_explicit_padding
    ):
        module = module.conv
    is_plain = (
        type(module) is nn.Conv2d
        and module.kernel_size == module.stride == (1, 1)
        and module.padding == (0, 0)
        and module.groups == 1
    )
    return module if is_plain else None


class Connections(BaseModule):
    r"""What the teacher is given of the student's features.

    .. math:: \sum_{k \in Q_l} c_{kl}(\phi_S^k)

    is added to the teacher's feature at point l. :math:`Q_l = \{l\}`, or with ``dense`` l and all
    points before it; their maps are average-pooled to the size at l.

    Args:
        maps (dict[str, Tensor]): The student's map at every point in a dry forward, in the order of
            the forward.
        transform (dict, optional): Config of c; gets ``in_channels`` and ``out_channels``.
            Identities by default.
        dense (bool): Whether all earlier points are sources too. Defaults to False.

    Raises:
        ValueError: If an identity would have to join different numbers of channels.
    """

    def __init__(
        self, maps: dict[str, Tensor], transform: dict | None = None, dense: bool = False
    ) -> None:
        super().__init__()
        points = list(maps)
        self.sources = {p: points[: i + 1] if dense else [p] for i, p in enumerate(points)}
        channels = {point: value.shape[1] for point, value in maps.items()}
        self.transforms = nn.ModuleList()
        for point, sources in self.sources.items():
            if transform is None and any(channels[s] != channels[point] for s in sources):
                raise ValueError(
                    f'connections.transform is missing: the points before {point!r} with its '
                    f'{channels[point]} channels have {sorted({channels[s] for s in sources})}; '
                    "set transform=dict(type='ConvModule', kernel_size=1, act_cfg=None)"
                )
            self.transforms.append(
                nn.ModuleList(
                    nn.Identity()
                    if transform is None
                    else MODELS.build(
                        {
                            '_scope_': 'mmkd',
                            **transform,
                            'in_channels': channels[source],
                            'out_channels': channels[point],
                        }
                    )
                    for source in sources
                )
            )
        self.dense = dense

    def _plain_convolutions(self) -> dict[str, list[nn.Conv2d]]:
        """Those to every point, if there is more to add up than one each and all are plain."""
        if not self.dense:
            return {}
        convs = {
            point: [plain_convolution(transform) for transform in transforms]
            for point, transforms in zip(self.sources, self.transforms, strict=True)
        }
        return {} if any(None in some for some in convs.values()) else convs

    def summands(self, student: Taps) -> dict[str, Callable[[], Tensor]]:
        """What to add at every point, for :class:`~mmkd.taps.Additions`."""

        # Once a size, for all points that have it.
        @cache
        def pooled(source: str, size: torch.Size) -> Tensor:
            value = student[source]
            return value if value.shape[2:] == size else F.adaptive_avg_pool2d(value, size)

        def summand(point: str, transforms: nn.ModuleList) -> Tensor:
            size = student[point].shape[2:]
            maps = (pooled(source, size) for source in self.sources[point])
            terms = (transform(x) for transform, x in zip(transforms, maps, strict=True))
            return reduce(torch.add, terms)

        convs = self._plain_convolutions()
        # Each is given away, so that none lives longer than the teacher needs it.
        ready: dict[str, Tensor] = {}

        def sum_of_convolutions(point: str) -> Tensor:
            if point not in ready:
                size = student[point].shape[2:]
                points = [p for p in self.sources if student[p].shape[2:] == size]
                maps = [pooled(source, size) for source in self.sources[points[-1]]]
                chosen = [convs[p] for p in points]
                ready.update(zip(points, prefix_convolutions(maps, chosen), strict=True))
            return ready.pop(point)

        if convs:
            return {point: partial(sum_of_convolutions, point) for point in self.sources}
        return {
            point: partial(summand, point, transforms)
            for point, transforms in zip(self.sources, self.transforms, strict=True)
        }
