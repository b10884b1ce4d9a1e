"""Distil a classifier and a detector on the CPU, with data that comes along.

Trains a teacher, a student alone, and the same student distilled, on handwritten digits
(knowledge distillation) and on scenes of them (ReviewKD on Faster R-CNN), all with tools/train.py
and tools/test.py. Prints what tools/test.py measured, and leaves curves and a picture of detections
in the work directory.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from mmdet.apis import inference_detector, init_detector
from mmengine.runner import find_latest_checkpoint
from mmengine.visualization import Visualizer

from mmkd.datasets import DigitScenes
from mmkd.visualization.curves import plot_scalar, read_scalars

ROOT = Path(__file__).resolve().parents[2]
ROLES = ('teacher', 'student', 'distilled')


@dataclass(frozen=True)
class Demo:
    """Three configs in ``configs/demo``, in the order of ``ROLES``, and how they are measured."""

    configs: tuple[str, str, str]
    metric: str
    label: str
    percent: float  # factor that makes the metric a percentage


DEMOS = {
    'digits': Demo(
        ('digits_teacher', 'digits_student', 'digits_kd'), 'accuracy/top1', 'digits, top-1 (%)', 1
    ),
    'scenes': Demo(
        ('scenes_teacher', 'scenes_student', 'scenes_reviewkd'),
        'coco/bbox_mAP',
        'scenes, box mAP (%)',
        100,
    ),
}


def run(log: Path, script: str, *args: str | Path) -> None:
    """Run a tool as a user would; on failure show the end of its log and stop."""
    command = ['python', script, *map(str, args)]
    print(f'$ {shlex.join(command)}', flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('w') as file:
        code = subprocess.call(
            [sys.executable, *command[1:]], stdout=file, stderr=subprocess.STDOUT
        )
    if code:
        end = '\n'.join(log.read_text().splitlines()[-20:])
        raise SystemExit(f'{end}\n\nThe command above failed (exit {code}); all of its log: {log}')


def train(config: str, work_dir: Path, *options: str | Path) -> Path:
    """Train a config of ``configs/demo``; the last checkpoint."""
    folder = work_dir / config
    script, source = 'tools/train.py', f'configs/demo/{config}.py'
    run(folder / 'train.log', script, source, '--work-dir', folder, *options)
    return folder / Path(find_latest_checkpoint(folder)).name


def test(config: Path, checkpoint: Path) -> dict[str, float]:
    """Evaluate a checkpoint; the metrics that tools/test.py wrote."""
    folder = checkpoint.parent / 'test'
    run(folder / 'test.log', 'tools/test.py', config, checkpoint, '--work-dir', folder)
    newest = max(path for path in folder.iterdir() if path.is_dir())
    return json.loads((newest / f'{newest.name}.json').read_text())


def run_demo(demo: Demo, work_dir: Path) -> list[float]:
    """Train and test the three models; their metrics in the order of ``ROLES``, in percent."""
    teacher, student, distilled = demo.configs
    teacher_checkpoint = train(teacher, work_dir)
    student_checkpoint = train(student, work_dir)
    option = f'model.teacher.checkpoint={teacher_checkpoint}'
    train(distilled, work_dir, '--cfg-options', option)
    metrics = [
        test(Path(f'configs/demo/{teacher}.py'), teacher_checkpoint),
        test(Path(f'configs/demo/{student}.py'), student_checkpoint),
        # Published: a plain model, tested without teacher and distiller.
        test(work_dir / distilled / 'student.py', work_dir / distilled / 'student.pth'),
    ]
    return [demo.percent * found[demo.metric] for found in metrics]


def draw_curves(demo: Demo, work_dir: Path, out: Path) -> None:
    """Draw the metric of all three, and the losses of the student alone and distilled."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout='constrained')
    colors = {}
    for role, config, style in zip(ROLES, demo.configs, (':', '--', '-'), strict=True):
        scalars = read_scalars(work_dir / config)
        plot_scalar(left, scalars, demo.metric, label=role, ls=style, marker='.')
        losses = {key for record in scalars for key in record if 'loss' in key}
        for key in sorted(losses) if role != 'teacher' else ():
            color = colors.setdefault(key, f'C{len(colors)}')
            plot_scalar(right, scalars, key, label=f'{key} ({role})', ls=style, color=color)
    left.set(xlabel='epoch', ylabel=demo.metric, title='Test split')
    right.set(xlabel='iteration', yscale='log', title='Training losses, weighted as in the config')
    left.legend()
    right.legend(fontsize='small', loc='upper left', bbox_to_anchor=(1, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def draw_detections(demo: Demo, work_dir: Path, out: Path, rows: int = 3, zoom: int = 6) -> None:
    """Draw the first test scenes with ground truth, the student's boxes and the distilled one's."""
    _, student, distilled = (work_dir / config for config in demo.configs)
    last = student / Path(find_latest_checkpoint(student)).name
    files = {
        'student': (student / f'{student.name}.py', last),
        'distilled': (distilled / 'student.py', distilled / 'student.pth'),
    }
    models = {
        role: init_detector(str(config), str(checkpoint), palette='random', device='cpu')
        for role, (config, checkpoint) in files.items()
    }
    scenes = DigitScenes(split='test', num_images=rows)
    visualizer = Visualizer()
    figure, grid = plt.subplots(rows, 3, figsize=(12, 4 * rows), layout='constrained')
    for row, scene in zip(grid, scenes, strict=True):
        truth = scene['instances']
        boxes = {'ground truth': torch.tensor([instance['bbox'] for instance in truth])}
        names = {'ground truth': [str(instance['bbox_label']) for instance in truth]}
        for role, model in models.items():
            found = inference_detector(model, scene['img']).pred_instances
            found = found[found.scores > 0.5]
            boxes[role] = found.bboxes
            names[role] = [f'{x.labels.item()} ({x.scores.item():.2f})' for x in found]
        image = scene['img'][..., ::-1].repeat(zoom, axis=0).repeat(zoom, axis=1)
        for axes, title in zip(row, boxes, strict=True):
            corners = (boxes[title] * zoom).clamp(max=len(image) - 1)
            visualizer.set_image(image)
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
    figure.savefig(out, dpi=120)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/demo'),
        help='folder of checkpoints, logs and pictures, from the root of the repository',
    )
    parser.add_argument('--only', choices=DEMOS, help='run one of the two')
    args = parser.parse_args(argv)
    os.chdir(ROOT)
    plt.switch_backend('Agg')
    # On tensors this small, threads wait for each other more than they help.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    chosen = {name: demo for name, demo in DEMOS.items() if args.only in (None, name)}
    results = {name: run_demo(demo, args.work_dir) for name, demo in chosen.items()}
    pictures = []
    for name, demo in chosen.items():
        pictures.append(args.work_dir / f'{name}_curves.png')
        draw_curves(demo, args.work_dir, pictures[-1])
    if 'scenes' in chosen:
        pictures.append(args.work_dir / 'scenes_detections.png')
        draw_detections(DEMOS['scenes'], args.work_dir, pictures[-1])
    print(f'\n{"":22}' + ''.join(f'{role:>12}' for role in ROLES))
    for name, numbers in results.items():
        print(f'{DEMOS[name].label:22}' + ''.join(f'{number:12.1f}' for number in numbers))
    print('\n' + '\n'.join(map(str, pictures)))
