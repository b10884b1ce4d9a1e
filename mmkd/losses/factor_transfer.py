"""Factor transfer: a student that learns what an auto-encoder made of the teacher's map."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.dist import all_reduce_params
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, as_list, fp32, paired
from .hint import mean_squared_error
from .utils import check_maps, pool_to_smaller


def _convolutions(channels: tuple[int, ...], transposed: bool = False) -> nn.Sequential:
    """A 3x3 convolution, batch norm and LeakyReLU(0.1) between each two of ``channels``."""
    return nn.Sequential(
        *(
            ConvModule(
                *pair,
                kernel_size=3,
                padding=1,
                conv_cfg=dict(type='deconv') if transposed else None,
                norm_cfg=dict(type='BN'),
                act_cfg=dict(type='LeakyReLU', negative_slope=0.1),
            )
            for pair in pairwise(channels)
        )
    )


class Paraphraser(nn.Module):
    """Convolutional auto-encoder; what its encoder gives is the teacher's factor.

    Args:
        channels (int): Channels of the map.
        factors (int): Channels of the factor.
    """

    def __init__(self, channels: int, factors: int) -> None:
        super().__init__()
        self.encoder = _convolutions((channels, channels, factors, factors))
        self.decoder = _convolutions((factors, factors, channels, channels), transposed=True)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct a map, (N, C, H, W)."""
        return self.decoder(self.encoder(x))


@fp32
def factor_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean absolute difference of two factors, each normalised to length 1, in float32."""
    student, teacher = (F.normalize(x.flatten(1), dim=1) for x in pool_to_smaller(student, teacher))
    return F.l1_loss(student, teacher)


def _restore_frozen(loss: FactorTransferLoss, incompatible_keys: tuple) -> None:
    loss._is_pretrained = bool(loss.pretrained)
    loss.train(loss.training)


@MODELS.register_module()
class FactorTransferLoss(DistillLoss):
    r"""Absolute difference between the normalised factors of student and teacher.

    .. math:: L = \frac{1}{N D} \sum_n \Bigl\lVert \frac{T(f_s)}{\lVert T(f_s) \rVert_2} -
              \frac{P(f_t)}{\lVert P(f_t) \rVert_2} \Bigr\rVert_1

    with D the size of a factor, T the translator, trained with the student, and P the encoder of
    the paraphraser. The paraphraser is an auto-encoder that is trained in a phase of its own,
    before the student, to reconstruct the teacher's map, and frozen from then on. Encoder, decoder
    and translator are three 3x3 convolutions each, with batch norm and LeakyReLU(0.1); a factor has
    the paraphrase rate times the teacher's channels. *Paraphrasing Complex Network: Network
    Compression via Factor Transfer*, Kim et al., NeurIPS 2018, section 3.

    Weight in use: 500 (authors' code, which has no batch norm and rebuilds the map with an absolute
    instead of a squared error). The benchmark of Contrastive Representation Distillation (CRD)
    compares the channel means of the squared factors instead and has batch norm in the translator
    only; its weight, also in Explicit Connection Distillation, Table 11, is 200.

    The phase of the paraphraser, which ``PretrainHook`` runs, comes before the first
    :meth:`forward`::

        with loss.pretraining() as parameters:
            ...  # minimise loss.pretrain_loss(teacher) over the parameters

    Over several processes whoever runs it averages the gradients; running statistics are averaged
    at its end.

    Shapes: (N, C_s, H_s, W_s) and (N, C_t, H_t, W_t); the larger factor is average-pooled to the
    size of the smaller. With several taps the losses add up. A batch of one needs maps of more than
    one position, as batch norm does.

    Args:
        rate (float): The paraphrase rate k. Defaults to 0.5.
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> ft=dict(type='FactorTransferLoss', student='backbone.layer3',
        ...         teacher='backbone.layer3', loss_weight=500.0)
        >>> custom_hooks = [dict(type='mmkd.PretrainHook', losses=['ft'], length=30)]
    """

    def __init__(
        self, rate: float = 0.5, loss_weight: float = 1.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        if rate <= 0:
            raise ValueError(f'FactorTransferLoss: rate must be positive, found rate={rate}')
        self.rate = rate
        self.paraphrasers = nn.ModuleList()
        self.translators = nn.ModuleList()
        self.register_buffer('pretrained', torch.tensor(False))
        # The buffer as the host knows it: to read the buffer in a step would wait for the device.
        self._is_pretrained = False
        self.register_load_state_dict_post_hook(_restore_frozen)

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_maps('FactorTransferLoss', student, teacher)
        for s, t in paired(student, teacher):
            channels, ours = t.shape[1], s.shape[1]
            factors = max(int(self.rate * channels), 1)
            self.paraphrasers.append(Paraphraser(channels, factors))
            self.translators.append(_convolutions((ours, ours, factors, factors)))
        # Trainable in the phase of its own only: DDP, made before it, would wait for gradients.
        self.paraphrasers.requires_grad_(False)

    def train(self, mode: bool = True) -> FactorTransferLoss:
        """Set the training mode; pre-trained paraphrasers stay in evaluation mode."""
        super().train(mode)
        self.paraphrasers.train(mode and not self._is_pretrained)
        return self

    @contextmanager
    def pretraining(self) -> Iterator[list[nn.Parameter]]:
        """Make the paraphrasers trainable; on leaving they are pre-trained and frozen.

        Yields:
            list[Parameter]: What :meth:`pretrain_loss` is to be minimised over.
        """
        self._is_pretrained = False
        self.paraphrasers.requires_grad_(True).train()
        yield list(self.paraphrasers.parameters())
        self.paraphrasers.requires_grad_(False).eval()
        statistics = [b for b in self.paraphrasers.buffers() if b.is_floating_point()]
        all_reduce_params(statistics, op='mean')
        self.pretrained.fill_(True)
        self._is_pretrained = True

    def pretrain_loss(self, teacher: Tapped) -> Tensor:
        """Return the mean squared error of the reconstructed teacher maps.

        Args:
            teacher (Tensor | sequence of Tensor): Teacher side of the term.

        Returns:
            Tensor: Scalar, not weighted.
        """
        levels = zip(self.paraphrasers, as_list(teacher), strict=True)
        return sum(mean_squared_error(paraphraser(t), t) for paraphraser, t in levels)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        """As :meth:`DistillLoss.forward`.

        Raises:
            RuntimeError: If the paraphraser has not been pre-trained.
        """
        if not self._is_pretrained:
            raise RuntimeError(
                'FactorTransferLoss: the paraphraser has not been pre-trained, its factors are '
                "noise; add dict(type='mmkd.PretrainHook', losses=[...], length=...) to "
                'custom_hooks, or load a checkpoint of a run that had one'
            )
        loss = 0.0
        levels = zip(self.paraphrasers, self.translators, paired(student, teacher), strict=True)
        for paraphraser, translator, (s, t) in levels:
            loss = loss + factor_distance(translator(s), paraphraser.encoder(t))
        return self.loss_weight * loss
