"""Pictures that set teacher, student and distilled student side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from mmdet.apis import inference_detector, init_detector
from mmdet.evaluation.functional import bbox_overlaps
from mmengine.structures import InstanceData
from mmengine.visualization import Visualizer

from mmkd.datasets import DigitScenes


def _num_right(found: InstanceData, truth: Sequence[dict]) -> int:
    """How many boxes of the truth are found, with IoU 0.5 or more and the right class."""
    if not len(found) or not truth:
        return 0
    boxes = np.array([instance['bbox'] for instance in truth], dtype=np.float32)
    labels = np.array([instance['bbox_label'] for instance in truth])
    overlaps = bbox_overlaps(boxes, found.bboxes.cpu().numpy())
    same = labels[:, None] == found.labels.cpu().numpy()
    return int(((overlaps >= 0.5) & same).any(axis=1).sum())


def draw_detections(
    models: dict[str, tuple[Path, Path]],
    rows: int = 3,
    num_scenes: int = 40,
    score: float = 0.4,
    zoom: int = 6,
) -> Figure:
    """Draw the test scenes on which the models differ most, beside the ground truth.

    Args:
        models (dict): Name to config and checkpoint; two of them.
        rows (int): How many scenes to draw. Defaults to 3.
        num_scenes (int): How many to choose them from. Defaults to 40.
        score (float): Least score of a drawn box. Defaults to 0.4.
        zoom (int): Factor by which scenes are enlarged. Defaults to 6.
    """
    detectors = {
        name: init_detector(str(config), str(checkpoint), palette='random', device='cpu')
        for name, (config, checkpoint) in models.items()
    }
    scenes = list(DigitScenes(split='test', num_images=num_scenes))
    found = {
        name: [
            instances[instances.scores > score]
            for instances in (
                result.pred_instances
                for result in inference_detector(detector, [scene['img'] for scene in scenes])
            )
        ]
        for name, detector in detectors.items()
    }
    first, second = (
        [_num_right(f, scene['instances']) for f, scene in zip(found[name], scenes, strict=True)]
        for name in models
    )
    difference = np.abs(np.subtract(first, second))
    chosen = np.argsort(-difference, kind='stable')[:rows]
    visualizer = Visualizer()
    figure = Figure(figsize=(12, 4.3 * rows), layout='constrained')
    for row, index in zip(figure.subplots(rows, 3, squeeze=False), chosen, strict=True):
        scene, truth = scenes[index], scenes[index]['instances']
        boxes = {'ground truth': torch.tensor([instance['bbox'] for instance in truth])}
        names = {'ground truth': [str(instance['bbox_label']) for instance in truth]}
        for name in models:
            instances = found[name][index]
            title = f'{name}: {_num_right(instances, truth)} of {len(truth)}'
            boxes[title] = instances.bboxes
            names[title] = [f'{x.labels.item()} ({x.scores.item():.2f})' for x in instances]
        image = scene['img'][..., ::-1].repeat(zoom, axis=0).repeat(zoom, axis=1)
        for axes, title in zip(row, boxes, strict=True):
            corners = (boxes[title] * zoom).clamp(max=len(image) - 1)
            visualizer.set_image(image)
            if len(corners):
                visualizer.draw_bboxes(corners, edge_colors='w', line_widths=3)
                visualizer.draw_texts(
                    names[title],
                    corners[:, :2],
                    font_sizes=20,
                    colors='w',
                    bboxes={'facecolor': 'k', 'edgecolor': 'none', 'pad': 1},
                )
            axes.imshow(visualizer.get_image())
            axes.set_axis_off()
            axes.set_title(title)
    return figure
