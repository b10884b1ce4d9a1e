"""Pictures of detections: where detectors differ, and what they look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from .detection import SCORE, found, num_right, truth
from .examples import images, import_grad_cam, maps, overlay
from .picture import Picture, draw_boxes
from .study import Network, Study

#: From so many test images those are chosen that are drawn.
_CHOSEN_FROM = 200


def differences(study: Study, count: int) -> np.ndarray:
    """Test images on which the main detector and the one before it differ most.

    By how many objects they are right about; without another one, by how many it is wrong about.

    Args:
        study (Study): Detectors.
        count (int): How many.
    """
    indices = range(min(_CHOSEN_FROM, len(study.loader.dataset)))
    ours = [num_right(study, study.main.name, index) for index in indices]
    if study.before is None:
        theirs = [len(truth(study, index)[1]) for index in indices]
    else:
        theirs = [num_right(study, study.before.name, index) for index in indices]
    return np.argsort(-np.abs(np.subtract(ours, theirs)), kind='stable')[:count]


def _scaled(boxes: np.ndarray, sample: Any, picture: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Boxes of an image's own pixels where they are in its picture, which was enlarged."""
    scale = np.array(sample.metainfo.get('scale_factor', (1.0, 1.0)), dtype=np.float32)
    zoom = picture.shape[0] / size[0]
    return boxes * np.tile(scale, 2) * zoom


def _rows(study: Study, indices: Sequence[int]) -> list[tuple[np.ndarray, Any, tuple[int, int]]]:
    """Picture, data sample and size of its input, an image."""
    rows = []
    for index in indices:
        batch = study.batch([index])
        data = study.main.data(batch)
        (picture,) = images(study, batch)
        rows.append((picture, data['data_samples'][0], tuple(data['inputs'].shape[2:])))
    return rows


def _grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(4 * columns, 4.3 * rows), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, grid


def draw_differences(study: Study, num_images: int = 3) -> Picture:
    """Draw the ground truth and what each detector finds, where two of them differ most.

    Args:
        study (Study): Detectors.
        num_images (int): How many images. Defaults to 3.
    """
    indices = differences(study, num_images)
    figure, grid = _grid(len(indices), 1 + len(study.networks))
    for axes, index, (picture, sample, size) in zip(
        grid, indices, _rows(study, indices), strict=True
    ):
        for place in axes:
            place.imshow(picture)
        boxes, labels = truth(study, index)
        names = [study.class_name(label) for label in labels]
        draw_boxes(axes[0], _scaled(boxes, sample, picture, size), names)
        axes[0].set_title('ground truth')
        for place, network in zip(axes[1:], study.networks, strict=True):
            ours, classes, scores = found(study, network.name, index)
            pairs = zip(classes, scores, strict=True)
            names = [f'{study.class_name(label)} {score:.2f}' for label, score in pairs]
            draw_boxes(place, _scaled(ours, sample, picture, size), names)
            right = num_right(study, network.name, index)
            place.set_title(f'{network.name}: {right} of {len(labels)}')
    before = study.before
    which = f'{study.main.name} and {before.name} differ' if before else 'it is wrong'
    return Picture(
        'differences',
        'Detections',
        figure,
        f'The test images on which {which} most in how many objects are found with their class and '
        f'an IoU of 0.5 or more, with a score of {SCORE} or more.',
        dict(images=[int(index) for index in indices]),
    )


class _Scores(nn.Module):
    """A detector as Grad-CAM calls it: the scores of what it finds."""

    def __init__(self, model: nn.Module, data_samples: list) -> None:
        super().__init__()
        self.model, self.data_samples = model, data_samples

    def forward(self, inputs: Tensor) -> list[Tensor]:
        predicted = self.model(inputs, self.data_samples, mode='predict')
        scores = (sample.pred_instances.scores for sample in predicted)
        return [found[found >= SCORE] for found in scores]


def grad_cam(network: Network, batch: dict) -> np.ndarray:
    """Grad-CAM++ of the sum of the scores of what a detector finds, (N, H, W) in [0, 1].

    The mean over the last maps of each size, as all of them are looked at.

    Args:
        network (Network): A detector.
        batch (dict): What a data loader gives.

    Raises:
        ImportError: If pytorch-grad-cam is not installed.
    """
    cam_type, _ = import_grad_cam()
    layers = [network.model.get_submodule(tap) for tap in maps(network, batch)]
    data = network.data(batch)
    wrapped = _Scores(network.model, data['data_samples'])
    with torch.enable_grad(), cam_type(wrapped, layers) as cam:
        inputs = data['inputs'].requires_grad_()
        return cam(inputs, [torch.sum] * len(inputs))


def draw_detector_cam(study: Study, num_images: int = 3) -> Picture:
    """Draw Grad-CAM++ of detectors where two of them differ most (ECD, Fig. 4, for detectors).

    Args:
        study (Study): Detectors.
        num_images (int): How many images. Defaults to 3.

    Raises:
        ImportError: If pytorch-grad-cam is not installed.
    """
    import_grad_cam()
    indices = differences(study, num_images)
    figure, grid = _grid(len(indices), 1 + len(study.networks))
    for axes, index, (picture, sample, size) in zip(
        grid, indices, _rows(study, indices), strict=True
    ):
        axes[0].imshow(picture)
        boxes, labels = truth(study, index)
        names = [study.class_name(label) for label in labels]
        draw_boxes(axes[0], _scaled(boxes, sample, picture, size), names)
        axes[0].set_title('ground truth')
        batch = study.batch([index])
        for place, network in zip(axes[1:], study.networks, strict=True):
            (heat,) = grad_cam(network, batch)
            place.imshow(overlay(picture, torch.from_numpy(heat)[None]))
            ours, classes, _ = found(study, network.name, index)
            names = [study.class_name(label) for label in classes]
            draw_boxes(place, _scaled(ours, sample, picture, size), names)
            place.set_title(network.name)
    return Picture(
        'cam',
        'Grad-CAM++',
        figure,
        'What raises the scores of what is found, from blue to red, over the last maps of each '
        'size of the backbone.',
        dict(images=[int(index) for index in indices]),
    )
