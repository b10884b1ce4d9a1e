"""What each exit of a network costs and gets right, and accuracy over the average cost.

Writes early_exit.json and early_exit.png into the work dir. A FLOP is a multiplication and an
addition of a convolution or a linear layer. Costs are those of one image up to an exit, with the
exits before it, which have to be asked first. The curve has one point for each confidence that lets
images leave, the same for all exits.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from mmkd.cli.launch import add_common_arguments, load_config
from mmkd.models import MultiExitClassifier
from mmkd.models.early_exit import early_exit
from mmkd.publish import load_plain, plain_config
from mmkd.registry import MODELS


def thresholds_for(network: MultiExitClassifier, index: int) -> list[float]:
    """Confidences with which every image leaves by classifier ``index``."""
    return [0.0 if i == index else float('inf') for i in range(len(network.exits))]


def costs(network: MultiExitClassifier, image: Tensor) -> list[dict[str, float]]:
    """FLOPs and median latency in seconds of one image, (1, C, H, W), up to each classifier."""
    found = []
    for index in range(len(network.names)):
        thresholds = thresholds_for(network, index)
        with FlopCounterMode(display=False) as counter:
            early_exit(network, image, thresholds)
        timer = Timer(
            'early_exit(network, image, thresholds)',
            globals=dict(
                early_exit=early_exit, network=network, image=image, thresholds=thresholds
            ),
        )
        latency = timer.blocked_autorange(min_run_time=0.5).median
        found.append(dict(flops=counter.get_total_flops() // 2, latency=latency))
    return found


def classify(network: MultiExitClassifier, loader: Iterable) -> tuple[Tensor, Tensor]:
    """Logits of all classifiers, (E, N, K), and labels, (N, )."""
    logits, labels = [], []
    for batch in loader:
        data = network.data_preprocessor(batch, False)
        logits.append(torch.stack(network.outputs(data['inputs']).logits).cpu())
        labels += [sample.gt_label.cpu() for sample in data['data_samples']]
    return torch.cat(logits, dim=1), torch.cat(labels)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy in percent."""
    return 100 * (logits.argmax(dim=-1) == labels).float().mean().item()


def budget_curve(
    logits: Tensor, labels: Tensor, flops: list[int], thresholds: Tensor
) -> list[dict[str, float]]:
    """Average FLOPs and accuracy of early-exit inference at each threshold.

    Args:
        logits (Tensor): Of all classifiers, (E, N, K).
        labels (Tensor): (N, ).
        flops (list[int]): Up to each classifier.
        thresholds (Tensor): Confidences, (T, ).
    """
    confidence = logits.softmax(dim=-1).amax(dim=-1)
    # Who is left leaves by the main classifier.
    confidence[-1] = float('inf')
    images = torch.arange(len(labels))
    curve = []
    for threshold in thresholds.tolist():
        # The first of the largest.
        taken = (confidence >= threshold).int().argmax(dim=0)
        curve.append(
            dict(
                threshold=threshold,
                flops=torch.tensor(flops, dtype=torch.float64)[taken].mean().item(),
                accuracy=accuracy(logits[taken, images], labels),
            )
        )
    return curve


def draw(report: dict) -> Figure:
    """Accuracy over the average cost, and each classifier on its own."""
    figure = Figure(layout='constrained')
    axes = figure.subplots()
    for key, style in (('curve', '-'), ('classifiers', 'o')):
        points = [(row['flops'] / 1e6, row['accuracy']) for row in report[key]]
        axes.plot(*zip(*points, strict=True), style)
    for row in report['classifiers']:
        axes.annotate(row['name'], (row['flops'] / 1e6, row['accuracy']))
    axes.set(xlabel='average MFLOPs', ylabel='accuracy (%)')
    return figure


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file of a network with exits, or of its distiller')
    parser.add_argument('checkpoint', help='checkpoint file, with exits')
    add_common_arguments(parser)
    return parser.parse_args(argv)


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    cfg = plain_config(load_config(args), keep_exits=True)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        network = MODELS.build(cfg.model)
        loader = Runner.build_dataloader(cfg.test_dataloader)
    if not isinstance(network, MultiExitClassifier):
        raise SystemExit(f'{args.config}: {type(network).__name__} has no exits')
    load_plain(network, args.checkpoint, 'CHECKPOINT')
    network.to(get_device()).eval()
    logits, labels = classify(network, loader)
    image = network.data_preprocessor(next(iter(loader)), False)['inputs'][:1]
    rows = [
        dict(name=name, **cost, accuracy=accuracy(z, labels))
        for name, cost, z in zip(network.names, costs(network, image), logits, strict=True)
    ]
    flops = [row['flops'] for row in rows]
    report = dict(
        classifiers=rows,
        ensemble=accuracy(logits.sum(dim=0), labels),
        curve=budget_curve(logits, labels, flops, torch.linspace(0, 1, 51)),
    )
    folder = Path(cfg.work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'early_exit.json').write_text(json.dumps(report, indent=2))
    draw(report).savefig(folder / 'early_exit.png')
    print(f'{"":10}{"MFLOPs":>10}{"ms":>10}{"accuracy":>10}')
    for row in rows:
        cells = f'{row["flops"] / 1e6:10.2f}{row["latency"] * 1e3:10.2f}{row["accuracy"]:10.2f}'
        print(f'{row["name"]:10}{cells}')
    print(f'{"ensemble":30}{report["ensemble"]:10.2f}')
    print(folder / 'early_exit.json', folder / 'early_exit.png')
