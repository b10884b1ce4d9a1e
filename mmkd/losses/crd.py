"""Contrastive representation distillation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, fp32, paired
from .utils import check_vectors

#: A bank of more rows than this for each that an anchor is compared with is read row by row, not
#: multiplied: 0.28 microseconds a row read, 0.012 a row multiplied (128 numbers, one CPU core).
_ROWS_FOR_ONE_READ = 20


def read_samples(data_samples: list | None, num_data: int, device: torch.device) -> Tensor:
    """Dataset index and label of every sample, (2, N).

    Args:
        data_samples (list): Data samples with ``sample_idx`` and one ``gt_label`` each.
        num_data (int): Number of training samples.
        device (torch.device): Where the result is to be.

    Raises:
        ValueError: If a sample has no index, one beyond ``num_data``, or not one label.
    """
    samples = data_samples or []
    indices = [sample.get('sample_idx') for sample in samples]
    if not indices or None in indices:
        raise ValueError(
            "CRDLoss needs the dataset index of every sample and found no 'sample_idx' in the "
            "metainfo of the data samples; add 'sample_idx' to meta_keys of PackInputs in the "
            'training pipeline'
        )
    if min(indices) < 0 or max(indices) >= num_data:
        raise ValueError(
            f'CRDLoss: num_data={num_data}, found samples with sample_idx from {min(indices)} to '
            f'{max(indices)}; set num_data to the number of samples in the training set'
        )
    labels = [sample.get('gt_label') for sample in samples]
    if any(label is None or label.numel() != 1 for label in labels):
        raise ValueError(
            'CRDLoss draws negatives from other classes and needs one gt_label for every sample'
        )
    index = torch.tensor(indices).to(device, non_blocking=True)
    return torch.stack([index, torch.cat(labels)])


def draw_negatives(labels: Tensor, own: Tensor, num_negatives: int) -> Tensor:
    """Draw samples of other classes, uniformly and with replacement.

    Args:
        labels (Tensor): Label of every sample of the training set, (num_data,).
        own (Tensor): Labels of the samples to draw for, (N,).
        num_negatives (int): Number K of draws for each.

    Returns:
        Tensor: Dataset indices, (N, K).

    Raises:
        RuntimeError: If there is no sample of another class.
    """
    by_class, order = labels.sort()
    start = torch.searchsorted(by_class, own)[:, None]
    size = torch.searchsorted(by_class, own, right=True)[:, None] - start
    others = len(labels) - size
    # An `if` would wait for the device in every step.
    torch._assert_async(
        (others > 0).all(),
        'CRDLoss draws negatives from other classes, but all samples of the training set have the '
        'same gt_label; train on two classes or more, or take another loss',
    )
    # The modulo of so large a number is uniform; a bound per row is more than randint takes.
    draws = torch.randint(2**62, (len(own), num_negatives), device=labels.device)
    draws = draws % others
    return order[draws + size * (draws >= start)]


@fp32
def unit(x: Tensor) -> Tensor:
    """Rows scaled to length 1, in float32."""
    return F.normalize(x, dim=1)


def _reads_rows(bank: Tensor, index: Tensor) -> bool:
    """Whether to read the compared rows; else all rows of the bank are multiplied."""
    return len(bank) > _ROWS_FOR_ONE_READ * index.shape[1]


@fp32
def similarities(anchors: Tensor, bank: Tensor, index: Tensor) -> Tensor:
    """Inner products of anchors with rows of a bank, (N, 1 + K).

    Args:
        anchors (Tensor): Vectors, (N, D).
        bank (Tensor): Unit vectors, (num_data, D).
        index (Tensor): Rows to compare each anchor with, (N, 1 + K).
    """
    if _reads_rows(bank, index):
        # Anchor by anchor: all rows together would be N (1 + K) D numbers.
        pairs = zip(anchors, index, strict=True)
        return torch.stack([bank.index_select(0, rows) @ anchor for anchor, rows in pairs])
    return (anchors @ bank.mT).gather(1, index)


@fp32
def weighted_rows(weights: Tensor, bank: Tensor, index: Tensor) -> Tensor:
    """Sum of an anchor's rows with its weights, (N, D): the transpose of :func:`similarities`.

    Args:
        weights (Tensor): (N, 1 + K).
        bank (Tensor): (num_data, D).
        index (Tensor): (N, 1 + K).
    """
    if _reads_rows(bank, index):
        return F.embedding_bag(index, bank, per_sample_weights=weights, mode='sum')
    return weights.new_zeros(len(weights), len(bank)).scatter_add_(1, index, weights) @ bank


@fp32
def noise_contrastive_loss(
    scores: Tensor, log_normalizer: Tensor, num_data: int
) -> tuple[Tensor, Tensor]:
    """Cross entropy of telling the positive from the negatives, mean over anchors, in float32.

    Args:
        scores (Tensor): Logarithms of unnormalised probabilities, positive first, (N, 1 + K).
        log_normalizer (Tensor): Logarithm of Z, scalar.
        num_data (int): Number of samples the noise is uniform over.

    Returns:
        tuple[Tensor, Tensor]: Scalar, and its gradient with regard to the scores.
    """
    log_noise = math.log((scores.shape[1] - 1) / num_data)
    logits = scores - log_normalizer - log_noise
    loss = F.softplus(-logits[:, 0]).sum() + F.softplus(logits[:, 1:]).sum()
    slopes = logits.sigmoid()
    slopes[:, 0] -= 1
    return loss / len(scores), slopes / len(scores)


@MODELS.register_module()
class CRDLoss(DistillLoss):
    r"""Noise-contrastive estimation between the embeddings of student and teacher.

    .. math:: L = -\frac{1}{N} \sum_{n} \sum_{(a, b) \in \{(e_s, b_t), (e_t, b_s)\}} \Bigl[
              \log h(a_n, b_n) + \sum_{k=1}^{K} \log\bigl(1 - h(a_n, b_{j_k})\bigr) \Bigr], \qquad
              h(a, b) = \frac{p}{p + K / M}, \quad p = \frac{\exp(a^\top b / \tau)}{Z}

    with e linear embeddings scaled to length 1, both trained, M the size of the training set, and b
    the rows of two memory banks that hold an embedding of every training sample. After each step
    the rows of its samples become ``normalize(momentum * row + (1 - momentum) * e)``. Z, one for
    each direction, is M times the mean of exp in the first step. The K negatives of a sample are
    drawn from the other classes, uniformly and with replacement. The loss learns the labels of the
    training set as it sees them; a sample it has not yet seen counts as of another class, and its
    rows are still random.

    *Contrastive Representation Distillation*, Tian et al., ICLR 2020, section 3, with the negatives
    of the authors' code, which draws without replacement where the other classes hold K. Weight in
    use: 0.8 (the authors' benchmark; Explicit Connection Distillation, Table 11).

    Over several processes, banks, labels and Z are those of one process with the joint batch. The
    processes need batches of equal sizes, which MMEngine's samplers give.

    A training set of one class has no negatives, and training stops as soon as all its labels have
    been seen.

    Memory: ``8 * M * embed_dims`` bytes for the banks and ``8 * M`` for the labels, in the
    checkpoint too (52 MB for CIFAR-100, 1.3 GB for ImageNet). During a step some ``50 * N * K``,
    and of a bank of up to 20 rows for each of the ``1 + K`` that an anchor is compared with
    ``8 * N * M`` for the products with all its rows; of a larger one the compared rows are read.

    Shapes: (N, C_s) and (N, C_t), one tap each.

    Args:
        num_data (int): Number M of samples in the training set. Indices are those of the data set
            that reads the samples; a ``ConcatDataset`` of several repeats them and cannot be used.
        embed_dims (int): Size of the embeddings. Defaults to 128.
        num_negatives (int): Number K of negatives. Defaults to 16384.
        tau (float): Temperature. Defaults to 0.07.
        momentum (float): Weight of a bank's old row. Defaults to 0.5.
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> crd=dict(type='CRDLoss', student='head.fc:input', teacher='head.fc:input',
        ...          num_data=50000, loss_weight=0.8)
    """

    needs_labels = True

    def __init__(
        self,
        num_data: int,
        embed_dims: int = 128,
        num_negatives: int = 16384,
        tau: float = 0.07,
        momentum: float = 0.5,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        for name, value in dict(num_data=num_data, num_negatives=num_negatives, tau=tau).items():
            if value <= 0:
                raise ValueError(f'CRDLoss: {name} must be positive, found {name}={value}')
        if not 0 <= momentum < 1:
            raise ValueError(f'CRDLoss: momentum must be in [0, 1), found momentum={momentum}')
        self.embed_dims = embed_dims
        self.num_negatives = num_negatives
        self.tau = tau
        self.momentum = momentum
        # The same in every process, whatever its seed: DDP is not asked to broadcast buffers.
        generator = torch.Generator().manual_seed(0)
        for name in ('student_bank', 'teacher_bank'):
            rows = torch.randn(num_data, embed_dims, generator=generator)
            self.register_buffer(name, unit(rows))
        self.register_buffer('labels', torch.full((num_data,), -1))
        self.register_buffer('log_normalizers', torch.full((2,), torch.nan))

    def check_data(self, length: int) -> None:
        """Hold ``num_data`` against the number of training samples.

        Raises:
            ValueError: If the training set is smaller.
        """
        if len(self.labels) > length:
            raise ValueError(
                f'CRDLoss: num_data={len(self.labels)}, but the training set has {length} samples: '
                f'negatives would be drawn that no image ever gives; set num_data={length}'
            )

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_vectors('CRDLoss', student, teacher)
        pairs = paired(student, teacher)
        if len(pairs) != 1:
            raise ValueError(
                f'CRDLoss takes one tap of the student and one of the teacher, found {len(pairs)} '
                'each; give a term to each pair of taps'
            )
        ((s, t),) = pairs
        self.student_embedding = nn.Linear(s.shape[1], self.embed_dims)
        self.teacher_embedding = nn.Linear(t.shape[1], self.embed_dims)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        """As :meth:`DistillLoss.forward`.

        Raises:
            ValueError: If the data samples have no index or no label.
        """
        ((s, t),) = paired(student, teacher)
        s, t = unit(self.student_embedding(s)), unit(self.teacher_embedding(t))
        samples = read_samples(data_samples, len(self.labels), s.device)
        index, labels = samples
        if self.training:
            samples = torch.cat(all_gather(samples), dim=1)
            self.labels[samples[0]] = samples[1]
        negatives = draw_negatives(self.labels, labels, self.num_negatives)
        compared = torch.cat([index[:, None], negatives], dim=1)
        anchors = s.detach() / self.tau, t.detach() / self.tau
        banks = self.teacher_bank, self.student_bank
        scores = [similarities(a, bank, compared) for a, bank in zip(anchors, banks, strict=True)]
        log_normalizers = self._normalize(*scores)
        loss = 0.0
        for own, bank, score, log_normalizer in zip(
            (s, t), banks, scores, log_normalizers, strict=True
        ):
            value, slopes = noise_contrastive_loss(score, log_normalizer, len(bank))
            # The gradient now, as the update overwrites rows that a backward pass would need.
            gradient = weighted_rows(slopes, bank, compared) / self.tau
            loss = loss + value + ((own - own.detach()) * gradient).sum()
        if self.training:
            self._update(samples[0], s.detach(), t.detach())
        return self.loss_weight * loss

    def _normalize(self, *scores: Tensor) -> Tensor:
        """Return the logarithms of Z, (2,), which the first step sets."""
        sums = torch.stack([score.logsumexp(dim=(0, 1)) for score in scores])
        log_means = sums - math.log(scores[0].numel())
        if self.training:
            gathered = torch.stack(all_gather(log_means))
            log_means = gathered.logsumexp(dim=0) - math.log(len(gathered))
        first = log_means + math.log(len(self.labels))
        log_normalizers = torch.where(self.log_normalizers.isnan(), first, self.log_normalizers)
        if self.training:
            self.log_normalizers.copy_(log_normalizers)
        return log_normalizers

    def _update(self, index: Tensor, student: Tensor, teacher: Tensor) -> None:
        """Mix the embeddings of all processes into the banks."""
        # A sample may be there twice. Its last row counts: all writes to a row are then equal, and
        # their order, which differs between processes, does not matter.
        rows = torch.arange(len(index), device=index.device)
        last = torch.where(index[:, None] == index, rows, -1).amax(dim=1)
        gathered = torch.cat(all_gather(torch.stack([student, teacher])), dim=1)[:, last]
        for bank, own in zip((self.student_bank, self.teacher_bank), gathered, strict=True):
            bank[index] = unit(self.momentum * bank[index] + (1 - self.momentum) * own)
