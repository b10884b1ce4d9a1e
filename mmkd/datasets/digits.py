"""Handwritten digits that come with scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset

from mmkd.registry import DATASETS

SPLITS = ('train', 'test')
CLASSES = tuple('0123456789')


def load_split(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Load one split of scikit-learn's 1,797 digits, without randomness.

    In the order of the file, the first two thirds of every class are for training and the rest for
    testing.

    Args:
        split (str): ``'train'`` or ``'test'``.

    Returns:
        tuple[ndarray, ndarray]: Images, (N, 8, 8), uint8 from 0 to 255, and labels, (N, ), int64.

    Raises:
        ValueError: If there is no such split.
    """
    # It takes a second to import: not for those who train on other data.
    from sklearn.datasets import load_digits

    if split not in SPLITS:
        raise ValueError(f'split must be one of {SPLITS}, found split={split!r}')
    images, labels = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    in_train = np.zeros(len(labels), dtype=bool)
    for label in range(len(CLASSES)):
        members = np.flatnonzero(labels == label)
        in_train[members[: 2 * len(members) // 3]] = True
    chosen = in_train if split == 'train' else ~in_train
    return images[chosen], labels[chosen]


@DATASETS.register_module()
class Digits(BaseDataset):
    """The 8x8 handwritten digits of scikit-learn as an mmpretrain dataset.

    1,195 images to train on and 602 to test on, balanced over the classes; the grey value is
    repeated in three channels. Source: *Optical Recognition of Handwritten Digits*, Alpaydin and
    Kaynak, UCI Machine Learning Repository, 1998.

    Args:
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.
        serialize_data (bool): As MMEngine has it, for worker processes. Defaults to False, which
            starts a quarter of a second sooner: the images are 345 kB.
        **kwargs: As in :class:`mmpretrain.datasets.BaseDataset`.

    Raises:
        ValueError: If there is no such split.

    Example:
        >>> dataset=dict(type='mmkd.Digits', split='train', pipeline=[dict(type='PackInputs')])
    """

    METAINFO = {'classes': CLASSES}

    def __init__(self, split: str = 'train', serialize_data: bool = False, **kwargs: Any) -> None:
        self.split = split
        super().__init__(ann_file='', serialize_data=serialize_data, **kwargs)

    def load_data_list(self) -> list[dict]:
        images, labels = load_split(self.split)
        images = np.repeat(images[..., None], 3, axis=-1)
        return [
            {'img': image, 'gt_label': int(label)}
            for image, label in zip(images, labels, strict=True)
        ]

    def extra_repr(self) -> list[str]:
        return [f'Split: \t{self.split}']
