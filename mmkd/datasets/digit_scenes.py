"""Scenes of several digits, for detection and instance segmentation."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from mmdet.datasets import BaseDetDataset
from numpy.random import Generator
from pycocotools import mask as rle

from mmkd.registry import DATASETS

from .digits import CLASSES, SPLITS, load_split

_ATTEMPTS = 50  # positions tried for a digit before it is left out of a full scene


def _texture(rng: Generator, size: int) -> np.ndarray:
    """A background, (size, size, 3) float32: a base colour, two octaves of noise, pixel noise."""
    image = np.broadcast_to(rng.uniform(0, 255, 3), (size, size, 3)).astype(np.float32)
    for cells, amplitude in ((4, 40), (24, 25), (size, 8)):
        noise = rng.uniform(-amplitude, amplitude, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    return image


def _free_corner(rng: Generator, edge: int, size: int, tiles: np.ndarray) -> np.ndarray | None:
    """Top left corner of a square that overlaps none of ``tiles``, or None where none was found."""
    corners = rng.integers(0, size - edge + 1, (_ATTEMPTS, 1, 2))
    apart = (corners >= tiles[:, 2:]) | (corners + edge <= tiles[:, :2])
    free = np.flatnonzero(apart.any(-1).all(-1))
    return corners[free[0], 0] if len(free) else None


@DATASETS.register_module()
class DigitScenes(BaseDetDataset):
    """Scenes of handwritten digits on textured backgrounds, as an mmdet dataset in memory.

    Digits of :class:`~mmkd.datasets.Digits` of the same split are enlarged, coloured and put side
    by side: boxes do not overlap. A scene depends on ``seed``, ``split`` and its index only, so a
    smaller dataset is the beginning of a larger one. Masks are in COCO's compressed RLE; boxes are
    the smallest around the masks, in pixel edges. Images are BGR, as mmdet's own.

    The pipeline starts with mmdet's ``LoadImageFromNDArray``. To evaluate with ``CocoMetric``
    without an annotation file, pack ``instances`` as a meta key.

    Args:
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.
        num_images (int): Number of scenes. Defaults to 200.
        img_size (int): Height and width of a scene. Defaults to 96.
        num_digits (tuple[int, int]): Fewest and most digits in a scene; fewer where no free place
            is left. Defaults to (4, 8).
        digit_size (tuple[int, int]): Smallest and largest edge of a digit's square tile in pixels.
            Defaults to (14, 32).
        seed (int): Defaults to 0.
        **kwargs: As in :class:`mmdet.datasets.BaseDetDataset`.

    Raises:
        ValueError: If there is no such split, or a range is empty or does not fit into the scene.

    Example:
        >>> dataset=dict(type='mmkd.DigitScenes', split='test', num_images=50, pipeline=[
        ...     dict(type='LoadImageFromNDArray'),
        ...     dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        ...     dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape',
        ...                                           'scale_factor', 'instances'))])
    """

    METAINFO = {'classes': CLASSES}

    def __init__(
        self,
        split: str = 'train',
        num_images: int = 200,
        img_size: int = 96,
        num_digits: tuple[int, int] = (4, 8),
        digit_size: tuple[int, int] = (14, 32),
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if not 1 <= num_digits[0] <= num_digits[1]:
            raise ValueError(f'num_digits must be (fewest >= 1, most), found {tuple(num_digits)}')
        if not 8 <= digit_size[0] <= digit_size[1] <= img_size:
            raise ValueError(
                f'digit_size must be (smallest >= 8, largest <= img_size={img_size}), '
                f'found {tuple(digit_size)}'
            )
        self.split = split
        self.num_images = num_images
        self.img_size = img_size
        self.num_digits = num_digits
        self.digit_size = digit_size
        self.seed = seed
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        digits, labels = load_split(self.split)
        return [self._scene(index, digits, labels) for index in range(self.num_images)]

    def _scene(self, index: int, digits: np.ndarray, labels: np.ndarray) -> dict:
        size = self.img_size
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split), index])
        image = _texture(rng, size)
        ink_sign = 1 if image.mean() < 127.5 else -1  # light on dark, dark on light
        tiles = np.empty((0, 4), dtype=int)
        instances = []
        for digit in rng.integers(len(digits), size=rng.integers(*self.num_digits, endpoint=True)):
            edge = int(rng.integers(*self.digit_size, endpoint=True))
            ink = rng.uniform(60, 140, 3) * ink_sign
            corner = _free_corner(rng, edge, size, tiles)
            if corner is None:
                continue
            tiles = np.vstack([tiles, [*corner, *(corner + edge)]])
            window = tuple(slice(start, start + edge) for start in corner[::-1])
            tile = cv2.resize(digits[digit], (edge, edge), interpolation=cv2.INTER_CUBIC)
            image[window] += ink * (tile[..., None] / 255)
            mask = np.zeros((size, size), dtype=np.uint8, order='F')
            mask[window] = tile > 127
            encoded = rle.encode(mask)
            x, y, width, height = rle.toBbox(encoded).astype(int).tolist()
            instances.append(
                {
                    'bbox': [x, y, x + width, y + height],
                    'bbox_label': int(labels[digit]),
                    'mask': {'size': encoded['size'], 'counts': encoded['counts'].decode()},
                    'ignore_flag': 0,
                }
            )
        return {
            'img': np.clip(image, 0, 255).astype(np.uint8),
            'img_id': index,
            'height': size,
            'width': size,
            'instances': instances,
        }
