"""Dense cross-layer mutual distillation, and deep mutual learning as its simplest case."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor

from mmkd.registry import MODELS

from .exit_base import Classify
from .kl_divergence import kl_divergence


@MODELS.register_module()
class DCMLoss(BaseModule):
    r"""What peers that are trained together minimise.

    Network s has K auxiliary classifiers and, as number K+1, its own. With its predictions
    :math:`p_{s_k}` and those of a peer t, which get no gradient,

    .. math:: L_s = L_c(p_{s_{K+1}}) + \alpha \sum_{k \le K} L_c(p_{s_k})
              + \beta \sum_{k \le K+1} D(p_{t_k} \| p_{s_k})
              + \gamma \sum_{i \ne j} D(p_{t_i} \| p_{s_j}),
              \qquad D = \tau^2 KL, \quad p = \mathrm{softmax}(z / \tau)

    *Knowledge Transfer via Dense Cross-Layer Mutual-Distillation*, Yao and Sun, ECCV 2020,
    equations 5-8 (as the slides number them), with the gradient of their cross entropy of soft
    targets (2). The same-stage sum counts the networks' own classifiers, as the authors' code
    does: without auxiliary classifiers this is *Deep Mutual Learning*, Zhang et al., CVPR 2018,
    :math:`\beta` its :math:`\lambda`. With more than two networks the distillation terms are
    averaged over the peers, as Deep Mutual Learning does with larger cohorts.

    Deep supervision alone has ``beta=gamma=0``; mutual learning of networks whose auxiliary
    classifiers only learn from labels has ``stages=[(-1, -1)]``.

    Args:
        alpha (float): Weight of the auxiliary classifiers' own losses. Defaults to 1.0.
        beta (float): Weight of the same-stage terms. Defaults to 1.0.
        gamma (float): Weight of the cross-stage terms. Defaults to 1.0.
        tau (float): Temperature. Defaults to 1.0.
        stages (sequence of tuple[int], optional): The set Q. For each stage the index of the
            classifier of every network, counted from the shallowest, -1 the network's own. A
            classifier that no stage names learns from labels only. Defaults to all, the shallowest
            with the shallowest, which takes networks of equally many.

    Raises:
        ValueError: If ``tau`` is not positive; see also :meth:`build`.

    Example:
        >>> objective = dict(type='mmkd.DCMLoss', alpha=1.0, beta=1.0, gamma=1.0)
    """

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 1.0,
        gamma: float = 1.0,
        tau: float = 1.0,
        stages: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        if tau <= 0:
            raise ValueError(f'DCMLoss: tau must be positive, found tau={tau}')
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.tau = tau
        self.stages = stages

    def build(self, logits: Sequence[Sequence[Tensor]]) -> None:
        """Check, once, before training, that the classifiers can be compared.

        Args:
            logits (sequence of sequence of Tensor): Those of a dummy batch, see :meth:`forward`.

        Raises:
            ValueError: If they predict different numbers of classes, or ``stages`` does not fit
                them.
        """
        classes = [[z.shape[1] for z in network] for network in logits]
        if len({count for network in classes for count in network}) > 1:
            raise ValueError(
                f'the classifiers of the networks predict {classes} classes; all must predict the '
                'same ones'
            )
        counts = [len(network) for network in logits]
        if self.stages is None and len(set(counts)) > 1:
            raise ValueError(
                f'the networks have {counts} classifiers; say with objective.stages which of them '
                'belong to the same stage, such as stages=[(0, 1), (-1, -1)]'
            )
        for stage in self.stages or ():
            if (
                not isinstance(stage, Sequence)
                or len(stage) != len(counts)
                or not all(
                    isinstance(index, int) and -count <= index < count
                    for index, count in zip(stage, counts, strict=True)
                )
            ):
                raise ValueError(
                    f'objective.stages has {stage}; expected one index for each of the '
                    f'{len(counts)} networks, which have {counts} classifiers'
                )

    def forward(
        self, logits: Sequence[Sequence[Tensor]], classify: Sequence[Classify]
    ) -> dict[str, Tensor]:
        """Return the terms of every network's loss.

        Args:
            logits (sequence of sequence of Tensor): (N, K) of the classifiers of each network, from
                the shallowest to its own.
            classify (sequence of Callable): The classification loss of each network.

        Returns:
            dict[str, Tensor]: ``loss_net1_cls``, ``loss_net1_exits``, ``loss_net1_same_stage``,
            ``loss_net1_cross_stage``, and so on for the other networks; without the same-stage and
            cross-stage terms of weight 0.
        """
        stages = self.stages
        if stages is None:
            stages = [(index,) * len(logits) for index in range(len(logits[0]))]
        count = range(len(stages))
        kinds = dict(
            same_stage=(self.beta, [(i, i) for i in count]),
            cross_stage=(self.gamma, [(i, j) for i in count for j in count if i != j]),
        )
        losses = {}
        for own, (*exits, main) in enumerate(logits):
            name = f'loss_net{own + 1}'
            losses[f'{name}_cls'] = classify[own](main)
            if exits:
                losses[f'{name}_exits'] = self.alpha * sum(map(classify[own], exits))
            peers = [peer for peer in range(len(logits)) if peer != own]
            for kind, (weight, pairs) in kinds.items():
                if weight and pairs:
                    terms = [
                        kl_divergence(
                            logits[own][stages[j][own]],
                            logits[peer][stages[i][peer]].detach(),
                            self.tau,
                        )
                        for peer in peers
                        for i, j in pairs
                    ]
                    losses[f'{name}_{kind}'] = weight * sum(terms) / len(peers)
        return losses
