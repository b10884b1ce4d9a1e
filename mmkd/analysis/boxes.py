"""Pictures of detections: where detectors differ, and what they look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mmkd.taps import Taps

from .detection import SCORE, found, judge_image, truth
from .examples import images, overlay
from .picture import Picture, draw_boxes
from .study import Network, Study

#: Colours of boxes that are right, of those that are wrong, and of objects that are missed.
_RIGHT, _WRONG, _MISSED = 'limegreen', 'red', 'white'
_COLORS_SAID = 'Green boxes are right, red ones wrong, and dashed white ones missed objects.'


def differences(study: Study, count: int) -> np.ndarray:
    """Test images on which the main detector and the one before it differ most.

    By the number of objects that one of them alone is right about; without another detector, by the
    number that it is not right about.

    Args:
        study (Study): Detectors.
        count (int): How many.
    """
    indices = range(len(study.loader.dataset))
    ours = [judge_image(study, study.main.name, index).right for index in indices]
    if study.before is None:
        theirs = [{*range(len(truth(study, index)[1]))} for index in indices]
    else:
        theirs = [judge_image(study, study.before.name, index).right for index in indices]
    differ = [len(mine ^ other) for mine, other in zip(ours, theirs, strict=True)]
    return np.argsort(np.negative(differ), kind='stable')[:count]


@dataclass
class _Row:
    """A test image as it is drawn.

    Args:
        index (int): Of the image.
        batch (dict): It alone, of the data loader.
        picture (ndarray): (H, W, 3), without padding.
        scale (ndarray): (4, ), from boxes in the image's own pixels to those in the picture.
    """

    index: int
    batch: dict
    picture: np.ndarray
    scale: np.ndarray


def _row(study: Study, index: int) -> _Row:
    batch = study.batch([index])
    data: dict[str, Any] = study.main.data(batch)
    (picture,) = images(study, batch)
    zoom = picture.shape[0] // data['inputs'].shape[2]
    info = data['data_samples'][0].metainfo
    height, width = info['img_shape'][:2]
    scale = np.tile(info.get('scale_factor', (1.0, 1.0)), 2) * zoom
    return _Row(int(index), batch, picture[: height * zoom, : width * zoom], scale)


def _grid(rows: Sequence[_Row], columns: int) -> tuple[Figure, np.ndarray]:
    """A figure with a row an image, as high as the images are wide."""
    heights = [row.picture.shape[0] / row.picture.shape[1] for row in rows]
    size = (4 * columns, sum(4 * height + 0.3 for height in heights))
    figure = Figure(figsize=size, layout='constrained')
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, grid


def _draw_truth(axes: Axes, study: Study, row: _Row) -> None:
    axes.imshow(row.picture)
    boxes, labels = truth(study, row.index)
    draw_boxes(axes, boxes * row.scale, [study.class_name(label) for label in labels])
    axes.set_title('ground truth')


def _draw_found(axes: Axes, study: Study, network: Network, row: _Row, image: np.ndarray) -> None:
    """Draw what a detector finds, right and wrong, and what it misses, over an image."""
    axes.imshow(image)
    boxes, labels, scores = found(study, network.name, row.index)
    true_boxes, true_labels = truth(study, row.index)
    judgement = judge_image(study, network.name, row.index)
    missed = sorted(judgement.missed)
    names = [study.class_name(label) for label in true_labels[missed]]
    draw_boxes(axes, true_boxes[missed] * row.scale, names, _MISSED, '--')
    kinds = np.array(judgement.kinds, dtype=object)
    right, wrong = kinds == 'right', ~np.isin(kinds, ['right', 'ignored'])
    for chosen, color in ((wrong, _WRONG), (right, _RIGHT)):
        pairs = zip(labels[chosen], scores[chosen], strict=True)
        names = [f'{study.class_name(label)} {score:.2f}' for label, score in pairs]
        draw_boxes(axes, boxes[chosen] * row.scale, names, color)
    axes.set_title(f'{network.name}: {right.sum()} of {len(true_labels)}, {wrong.sum()} wrong')


def draw_differences(study: Study, num_images: int = 3) -> Picture:
    """Draw the ground truth and what each detector finds, where two of them differ most.

    Args:
        study (Study): Detectors.
        num_images (int): How many images. Defaults to 3.
    """
    rows = [_row(study, index) for index in differences(study, num_images)]
    figure, grid = _grid(rows, 1 + len(study.networks))
    for axes, row in zip(grid, rows, strict=True):
        _draw_truth(axes[0], study, row)
        for place, network in zip(axes[1:], study.networks, strict=True):
            _draw_found(place, study, network, row, row.picture)
    before = study.before
    which = (
        f'with most objects that either {study.main.name} or {before.name} alone finds'
        if before
        else 'with most objects that it does not find'
    )
    return Picture(
        'differences',
        'Detections',
        figure,
        f'The test images {which}: with their class, an IoU of 0.5 or more and a score of {SCORE} '
        f'or more. {_COLORS_SAID}',
        dict(images=[row.index for row in rows]),
    )


class _Attached(TorchFunctionMode):
    """Lets ``detach`` do nothing: mmdet's dense heads detach the scores that they predict."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return args[0] if func is Tensor.detach else func(*args, **(kwargs or {}))


def cam(network: Network, batch: dict) -> np.ndarray:
    r"""What raises the scores of what a detector finds, (N, H, W) in [0, 1].

    HiResCAM of the levels :math:`A_l` of the neck, or of the backbone if there is no neck, for the
    log-odds of the scores :math:`s_i` of all boxes:

    .. math:: \sum_l \operatorname{up}\left[\sum_c A_{lc} \odot
        \frac{\partial \sum_i \log(s_i / (1 - s_i))}{\partial A_{lc}}\right]_+

    Grad-CAM and Grad-CAM++ take the mean of the gradient over places, which mixes the objects of an
    image. Log-odds, as scores near 1 have next to no gradient.

    Source: *Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
    networks*, Draelos and Carin, 2020, equation 3.

    Args:
        network (Network): A detector.
        batch (dict): What a data loader gives.

    Raises:
        ValueError: If the scores have no gradient.
    """
    data = network.data(batch)
    tap = 'neck' if network.model.with_neck else 'backbone'
    with torch.enable_grad(), Taps(network.model, [tap]) as record, _Attached():
        inputs = data['inputs'].requires_grad_()
        samples = network.model(inputs, data['data_samples'], mode='predict')
        levels = record[tap]
    scores = torch.cat([sample.pred_instances.scores for sample in samples])
    if not scores.requires_grad:
        raise ValueError(
            f'cam: the scores that {network.name} predicts have no gradient. Leave this picture out'
        )
    evidence = torch.logit(scores[scores >= SCORE], eps=torch.finfo(scores.dtype).eps).sum()
    gradients = torch.autograd.grad(evidence, levels, allow_unused=True, materialize_grads=True)
    heat = sum(
        F.interpolate((level * gradient).sum(1, True).relu(), inputs.shape[2:], mode='bilinear')
        for level, gradient in zip(levels, gradients, strict=True)
    )[:, 0].detach()
    # Where nothing is found, nothing is looked at.
    most = heat.amax(dim=(1, 2), keepdim=True)
    return (heat / most.where(most > 0, 1.0)).cpu().numpy()


def draw_detector_cam(study: Study, num_images: int = 3) -> Picture:
    """Draw what detectors look at where two of them differ most (ECD, Fig. 4, for detectors).

    Args:
        study (Study): Detectors.
        num_images (int): How many images. Defaults to 3.

    Raises:
        ValueError: If the scores of a detector have no gradient.
    """
    rows = [_row(study, index) for index in differences(study, num_images)]
    figure, grid = _grid(rows, 1 + len(study.networks))
    for axes, row in zip(grid, rows, strict=True):
        _draw_truth(axes[0], study, row)
        for place, network in zip(axes[1:], study.networks, strict=True):
            heat = torch.from_numpy(cam(network, row.batch))
            size = network.data(row.batch)['data_samples'][0].metainfo['img_shape'][:2]
            heat = heat[:, : size[0], : size[1]]
            _draw_found(place, study, network, row, overlay(row.picture, heat))
    return Picture(
        'cam',
        'What is looked at (HiResCAM)',
        figure,
        'What raises the scores of what is found, from blue to red, on the levels of the neck. '
        f'{_COLORS_SAID}',
        dict(images=[row.index for row in rows]),
    )
