"""Pictures of single images: what networks look at, and the maps within them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.visualization import Visualizer
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.distillers.views import View

from .picture import Picture, is_bgr, pixels
from .study import Network, Study

#: Images below this side are enlarged, so that a map over them can be seen.
_LEAST_SIDE = 160
#: Maps below this side say where nothing is.
_LEAST_MAP = 3


def disagreements(study: Study, count: int) -> np.ndarray:
    """Test images on which the main classifier and the one before it differ most.

    The first ones, if it has no head.

    Three of four are those that the main one gets right and the other does not, or where it is
    surer of the right class; the last ones are the other way round.

    Args:
        study (Study): Classifiers.
        count (int): How many.

    Returns:
        ndarray: Indices, (count, ), or all images if there are fewer.
    """
    labels = study.labels
    if study.main not in study.scored:
        return np.arange(min(count, len(labels)))
    before = study.before if study.before in study.scored else None
    sure = [
        study.outputs[n.name].probabilities[torch.arange(len(labels)), labels].numpy()
        for n in (study.main, before)
        if n is not None
    ]
    if before is None:
        return np.argsort(sure[0], kind='stable')[:count]
    # Who is right counts more than how sure: |p - q| is at most 1.
    gain = sure[0] - sure[1] + 1.0 * study.right(study.main) - study.right(before)
    order = np.argsort(-gain, kind='stable')[: max(count, 0)]
    losses = np.argsort(gain, kind='stable')[: count // 4]
    return np.array(list(dict.fromkeys([*order[: count - count // 4], *losses])))


def _grid(rows: int, columns: int, width: float) -> tuple[Figure, Any]:
    """A figure with places for square pictures, ``width`` inches each, without ticks."""
    figure = Figure(figsize=(width * columns, width * 1.15 * rows), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    return figure, grid


def images(study: Study, batch: dict) -> list[np.ndarray]:
    """The images of a batch as the main network gets them, (H, W, 3) each, small ones enlarged."""
    preprocessor, blue_first = study.main.model.data_preprocessor, is_bgr(study.loader.dataset)
    inputs = study.main.data(batch)['inputs']
    zoom = max(1, _LEAST_SIDE // min(inputs.shape[2:]))
    pictures = (pixels(image, preprocessor, blue_first) for image in inputs)
    return [
        (255 * picture).round().byte().numpy().repeat(zoom, axis=0).repeat(zoom, axis=1)
        for picture in pictures
    ]


def overlay(image: np.ndarray, heat: Tensor) -> np.ndarray:
    """A map (C, h, w) as the mean over its channels, from blue to red, over an image (H, W, 3)."""
    mean = heat.float().mean(dim=0)[None, None]
    mean = F.interpolate(mean, image.shape[:2], mode='bilinear', align_corners=False)[0]
    return Visualizer().draw_featmap(mean.cpu(), image, alpha=0.45)


def maps(network: Network, batch: dict) -> dict[str, Tensor]:
    """The last map of each size in a network, (N, C, h, w) each, by layer, from large to small.

    The tokens of a transformer are put where they belong; its last block stands for all.
    """
    values = network.features(batch, network.layers())
    found = {
        tuple(value.shape[2:]): (tap, value)
        for tap, value in values.items()
        if isinstance(value, Tensor) and value.ndim == 4
    }
    if not found:
        tap, value = list(values.items())[-1]
        return {tap: View(tap, to='map')(value)}
    large = {size: item for size, item in found.items() if min(size) >= _LEAST_MAP}
    return dict((large or {max(found): found[max(found)]}).values())


def draw_feature_maps(study: Study, num_images: int = 2, num_maps: int = 3) -> Picture:
    """Draw the mean over the channels of the last maps of each size, over the image.

    Args:
        study (Study): Any networks.
        num_images (int): How many images. Defaults to 2.
        num_maps (int): How many sizes, the smallest ones. Defaults to 3.
    """
    if study.is_classification:
        indices = disagreements(study, num_images)
    else:
        indices = np.arange(min(num_images, len(study.loader.dataset)))
    batch = study.batch(indices)
    pictures = images(study, batch)
    found = {n.name: list(maps(n, batch).items())[-num_maps:] for n in study.networks}
    columns = max(map(len, found.values()))
    rows = [(i, n) for i in range(len(indices)) for n in study.networks]
    figure, grid = _grid(len(rows), columns + 1, 2.1)
    for axes, (index, network) in zip(grid, rows, strict=True):
        axes[0].imshow(pictures[index])
        axes[0].set_ylabel(network.name)
        for place, (tap, value) in zip(axes[1:], found[network.name], strict=False):
            place.imshow(overlay(pictures[index], value[index]))
            place.set_title(f'{tap.removeprefix("backbone.")}, {value.shape[2]}x{value.shape[3]}')
            place.title.set_fontsize(8)
        for place in axes[1 + len(found[network.name]) :]:
            place.set_axis_off()
    return Picture(
        'feature_maps',
        'Feature maps',
        figure,
        'The mean over the channels of the last maps of each size, from its least (blue) to its '
        'largest (red) value, over the image.',
        dict(
            images=[int(i) for i in indices],
            layers={k: [t for t, _ in v] for k, v in found.items()},
        ),
    )


def _import_grad_cam() -> tuple[type, type]:
    """pytorch-grad-cam's Grad-CAM++ and its target of a class, an optional dependency.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        from pytorch_grad_cam import GradCAMPlusPlus
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError as error:
        raise ImportError(
            f"cam needs pytorch-grad-cam ({error}); install it with pip install 'mmkd[analysis]'"
        ) from error
    return GradCAMPlusPlus, ClassifierOutputTarget


class _Logits(nn.Module):
    """A classifier as Grad-CAM calls it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs, mode='tensor')


def _target(network: Network, batch: dict) -> tuple[str, View | None]:
    """The layer whose gradient Grad-CAM weighs, and a view of it as a map if it is of tokens."""
    values = network.features(batch, network.layers())
    tensors = {tap: value for tap, value in values.items() if isinstance(value, Tensor)}
    found = {tap: min(value.shape[2:]) for tap, value in tensors.items() if value.ndim == 4}
    least = min(_LEAST_MAP, max(found.values(), default=0))
    last = [tap for tap, side in found.items() if side >= least]
    if last:
        return last[-1], None
    tokens = [tap for tap, value in tensors.items() if value.ndim == 3]
    if len(tokens) < 2:
        raise ValueError(
            f'cam: no layer of {network.name} gives a map (N, C, H, W) or tokens (N, L, C); found '
            f'{", ".join(values)}. Leave this picture out'
        )
    # Of the last block, the head sees the class token alone.
    return tokens[-2], View(tokens[-2], to='map')


def grad_cam(network: Network, batch: dict, labels: Sequence[int]) -> np.ndarray:
    """Grad-CAM++ of a class for each image, (N, H, W) in [0, 1].

    Source: *Grad-CAM++*, Chattopadhay et al., WACV 2018, as pytorch-grad-cam computes it.

    Args:
        network (Network): A classifier.
        batch (dict): What a data loader gives.
        labels (sequence of int): A class an image.

    Raises:
        ImportError: If pytorch-grad-cam is not installed.
        ValueError: If the network has no layer with a place for everything.
    """
    cam_type, target_type = _import_grad_cam()
    tap, view = _target(network, batch)
    inputs = network.data(batch)['inputs'].requires_grad_()
    layer = network.model.get_submodule(tap)
    with cam_type(_Logits(network.model), [layer], reshape_transform=view) as cam:
        return cam(inputs, [target_type(int(label)) for label in labels])


def draw_cam(study: Study, num_images: int = 4) -> Picture:
    """Draw Grad-CAM++ of the right class where classifiers disagree (ECD, Fig. 4).

    Args:
        study (Study): Classifiers.
        num_images (int): How many images. Defaults to 4.

    Raises:
        ImportError: If pytorch-grad-cam is not installed.
        ValueError: If a network has no layer that can be drawn.
    """
    if not study.scored:
        raise ValueError(f'cam needs logits, and {study.main.name} has no head')
    indices = disagreements(study, num_images)
    batch, labels = study.batch(indices), study.labels[indices]
    pictures, networks = images(study, batch), study.scored
    figure, grid = _grid(len(indices), 1 + len(networks), 2.3)
    for axes, image, label in zip(grid[:, 0], pictures, labels, strict=True):
        axes.imshow(image)
        axes.set_title(study.class_name(int(label)), fontsize=9)
    for column, network in zip(grid[:, 1:].T, networks, strict=True):
        heats = grad_cam(network, batch, labels)
        probabilities = study.outputs[network.name].probabilities[indices]
        for axes, image, heat, p, label in zip(
            column, pictures, heats, probabilities, labels, strict=True
        ):
            axes.imshow(overlay(image, torch.from_numpy(heat)[None]))
            found = int(p.argmax())
            color = 'tab:green' if found == label else 'tab:red'
            title = f'{network.name}: {study.class_name(found)} ({p[found]:.2f})'
            axes.set_title(title, fontsize=9, color=color)
    before = study.before
    return Picture(
        'cam',
        'Grad-CAM++',
        figure,
        'What speaks for the right class, from blue to red, and in green or red what each network '
        'says. The images are those on which '
        + (
            f'{study.main.name} and {before.name} differ most, both ways round.'
            if before
            else f'{study.main.name} is least sure.'
        ),
        dict(images=[int(i) for i in indices]),
    )
