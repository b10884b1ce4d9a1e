"""Accuracy of every exit, every peer and every ensemble."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric

from mmkd.registry import METRICS


@METRICS.register_module()
class OutputAccuracy(BaseMetric):
    """Top-k accuracy of every output of a model that has several, in percent.

    Reads ``outputs``, logits by name, which models with exits and distillers of several networks
    write to their predictions. Logged as ``accuracy/<name>_top<k>``.

    Args:
        topk (sequence of int): Defaults to (1, ).
        collect_device (str): Defaults to 'cpu'.
        prefix (str, optional): Defaults to 'accuracy'.

    Raises:
        ValueError: If predictions have no ``outputs``.

    Example:
        >>> val_evaluator = [dict(type='Accuracy'), dict(type='mmkd.OutputAccuracy')]
    """

    default_prefix = 'accuracy'

    def __init__(
        self,
        topk: Sequence[int] = (1,),
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.topk = tuple(topk)

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep at which of the top k ranks each output has the label."""
        if not all('outputs' in sample for sample in data_samples):
            raise ValueError(
                'OutputAccuracy: the predictions have no `outputs`; use it with a model with exits '
                "or with several networks, and mmpretrain's Accuracy with others"
            )
        labels = torch.cat([sample['gt_label'] for sample in data_samples])[:, None]
        hits = {}
        for name in data_samples[0]['outputs']:
            scores = torch.stack([sample['outputs'][name] for sample in data_samples])
            hits[name] = (scores.topk(max(self.topk)).indices == labels).cpu()
        self.results += [
            {name: hit[index] for name, hit in hits.items()} for index in range(len(labels))
        ]

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Return ``<name>_top<k>`` in percent."""
        metrics = {}
        for name in results[0]:
            hits = torch.stack([result[name] for result in results])
            for k in self.topk:
                metrics[f'{name}_top{k}'] = 100 * hits[:, :k].any(dim=1).float().mean().item()
        return metrics
