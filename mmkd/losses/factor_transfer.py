"""Factor transfer: a student that learns what an auto-encoder made of the teacher's map."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, as_list, fp32, paired
from .hint import mean_squared_error
from .utils import check_maps, pool_to_smaller


def _convolutions(
    channels: tuple[int, ...], norm: bool = False, transposed: bool = False
) -> nn.Sequential:
    """A 3x3 convolution, LeakyReLU(0.1) and maybe batch norm for each two of ``channels``."""
    conv = nn.ConvTranspose2d if transposed else nn.Conv2d
    layers = nn.Sequential()
    for ours, theirs in pairwise(channels):
        layer = nn.Sequential()
        layer.add_module('conv', conv(ours, theirs, 3, padding=1, bias=not norm))
        if norm:
            layer.add_module('bn', nn.BatchNorm2d(theirs))
        layer.add_module('activate', nn.LeakyReLU(0.1, inplace=True))
        layers.append(layer)
    return layers


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
def mean_absolute_error(first: Tensor, second: Tensor) -> Tensor:
    """Mean of ``|first - second|`` over all entries, in float32."""
    return F.l1_loss(first, second)


@fp32
def factor_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean absolute difference of two factors, each normalised to length 1, in float32."""
    student, teacher = (F.normalize(x.flatten(1), dim=1) for x in pool_to_smaller(student, teacher))
    return F.l1_loss(student, teacher)


@fp32
def energy_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """As :func:`factor_distance`, of the channel means of the squared factors."""
    student, teacher = pool_to_smaller(student, teacher)
    return factor_distance(*(x.square().mean(1, keepdim=True) for x in (student, teacher)))


#: Whether the translator has batch norm, the error of the rebuilt map, the distance of factors.
_FORMS = {
    'crd': (True, mean_squared_error, energy_distance),
    'authors': (False, mean_absolute_error, factor_distance),
}


def _restore_frozen(loss: FactorTransferLoss, incompatible_keys: tuple) -> None:
    loss._is_pretrained = bool(loss.pretrained)


@MODELS.register_module()
class FactorTransferLoss(DistillLoss):
    r"""Absolute difference between the normalised factors of student and teacher.

    .. math:: L = \frac{1}{N D} \sum_n \Bigl\lVert \frac{e(T(f_s))}{\lVert e(T(f_s)) \rVert_2} -
              \frac{e(P(f_t))}{\lVert e(P(f_t)) \rVert_2} \Bigr\rVert_1

    with T the translator, trained with the student, P the encoder of the paraphraser, and D the
    size of an e. The paraphraser is an auto-encoder that is trained in a phase of its own, before
    the student, to reconstruct the teacher's map, and frozen from then on. Encoder, decoder and
    translator are three 3x3 convolutions each with LeakyReLU(0.1); a factor has the paraphrase rate
    times the teacher's channels. *Paraphrasing Complex Network: Network Compression via Factor
    Transfer*, Kim et al., NeurIPS 2018, section 3. Two forms are in use:

    ============= ======================== ============= ============== ====== ====================
    ``form``      e(x)                     batch norm    error of the   weight source
                                                         rebuilt map
    ============= ======================== ============= ============== ====== ====================
    ``'crd'``     mean of x^2 over         in the        squared        200    benchmark of CRD;
                  channels                 translator                          ECD, Table 11
    ``'authors'`` x                        none          absolute       500    the authors' code
    ============= ======================== ============= ============== ====== ====================

    The phase of the paraphraser, which ``PretrainHook`` runs, comes before the first
    :meth:`forward`::

        with loss.pretraining() as parameters:
            ...  # minimise loss.pretrain_loss(teacher) over the parameters

    Over several processes whoever runs it averages the gradients.

    Shapes: (N, C_s, H_s, W_s) and (N, C_t, H_t, W_t); the larger factor is average-pooled to the
    size of the smaller. With several taps the losses add up. In the form 'crd' a batch of one
    needs maps of more than one position, as batch norm does.

    Args:
        form (str): ``'crd'`` or ``'authors'``. Defaults to ``'crd'``.
        rate (float): The paraphrase rate k. Defaults to 0.5.
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> ft=dict(type='FactorTransferLoss', student='backbone.layer3',
        ...         teacher='backbone.layer3', form='crd', loss_weight=200.0)
        >>> custom_hooks = [dict(type='mmkd.PretrainHook', losses=['ft'], length=30)]
    """

    def __init__(
        self,
        form: str = 'crd',
        rate: float = 0.5,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        if form not in _FORMS:
            raise ValueError(
                f'FactorTransferLoss: unknown form={form!r}; give one of {list(_FORMS)}'
            )
        if rate <= 0:
            raise ValueError(f'FactorTransferLoss: rate must be positive, found rate={rate}')
        self.rate = rate
        self._norm, self._rebuild_error, self._distance = _FORMS[form]
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
            self.translators.append(_convolutions((ours, ours, factors, factors), self._norm))
        # Trainable in the phase of its own only: DDP, made before it, would wait for gradients.
        self.paraphrasers.requires_grad_(False)

    @contextmanager
    def pretraining(self) -> Iterator[list[nn.Parameter]]:
        """Make the paraphrasers trainable; on leaving they are pre-trained and frozen.

        Yields:
            list[Parameter]: What :meth:`pretrain_loss` is to be minimised over.
        """
        self._is_pretrained = False
        self.paraphrasers.requires_grad_(True)
        yield list(self.paraphrasers.parameters())
        self.paraphrasers.requires_grad_(False)
        self.pretrained.fill_(True)
        self._is_pretrained = True

    def pretrain_loss(self, teacher: Tapped) -> Tensor:
        """Return the error of the reconstructed teacher maps.

        Args:
            teacher (Tensor | sequence of Tensor): Teacher side of the term.

        Returns:
            Tensor: Scalar, not weighted.
        """
        levels = zip(self.paraphrasers, as_list(teacher), strict=True)
        return sum(self._rebuild_error(paraphraser(t), t) for paraphraser, t in levels)

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
            loss = loss + self._distance(translator(s), paraphraser.encoder(t))
        return self.loss_weight * loss
