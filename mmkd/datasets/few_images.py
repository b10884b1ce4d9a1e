"""Folders of images, of which few are used."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mmpretrain.datasets import CustomDataset

from mmkd.registry import DATASETS


@DATASETS.register_module()
class FewImages(CustomDataset):
    """The first images of every class, in the order of their names.

    For trainings that shall be short, or that shall have few labels: with a data set of folders,
    ``--cfg-options train_dataloader.dataset.type=mmkd.FewImages
    train_dataloader.dataset.per_class=50``.

    Args:
        per_class (int): How many of each class.
        **kwargs: As in :class:`mmpretrain.datasets.CustomDataset`.

    Raises:
        ValueError: If ``per_class`` is less than 1, or a class has fewer images.

    Example:
        >>> dataset=dict(type='mmkd.FewImages', per_class=50, data_root='data/cifar10_jpeg',
        ...              data_prefix='train', pipeline=[...])
    """

    def __init__(self, *args: Any, per_class: int, **kwargs: Any) -> None:
        if not isinstance(per_class, int) or per_class < 1:
            raise ValueError(f'per_class must be 1 or more, found per_class={per_class!r}')
        self.per_class = per_class
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        seen: Counter[int] = Counter()
        chosen = []
        for info in super().load_data_list():
            label = info['gt_label']
            if seen[label] < self.per_class:
                chosen.append(info)
            seen[label] += 1
        if min(seen.values()) < self.per_class:
            raise ValueError(
                f'per_class={self.per_class}, but a class in {self.img_prefix} has '
                f'{min(seen.values())} images; give a smaller number'
            )
        return chosen
