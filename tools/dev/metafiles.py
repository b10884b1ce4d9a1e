"""Bring the metafiles of `configs/` and `model-index.yml` up to the configs.

A model's settings are read off its config, its `Results` off the JSON files of `docs/results`. What
neither says (`Published`, a paper's; `Weights`) stays as it stands in the metafile. Run it after
adding a config: `tools/dev/metafiles.py kd` looks at one folder, all of them take minutes. After a
benchmark `--results` is enough, which takes seconds.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

from mmkd.benchmark import step_page
from mmkd.benchmark.matrix import Row, read_matrix
from mmkd.benchmark.page import Results
from mmkd.benchmark.statistics import mean_interval

ROOT = Path(__file__).parents[2]
#: How the folder of a data set begins, or its type, to what the zoo calls it.
DATA = {
    'data/bccd': 'BCCD',
    'data/cifar100': 'CIFAR-100',
    'data/cifar10': 'CIFAR-10',
    'data/coco': 'COCO',
    'data/imagenet': 'ImageNet-1k',
    'mmkd.Digits': 'Digits',
    'mmkd.DigitScenes': 'Digit scenes',
}
#: What a matrix calls a metric, to what the zoo calls it; the zoo leaves out others.
METRICS = {
    'accuracy/top1': 'Top 1 Accuracy',
    'accuracy/net2_top1': 'Second Network Top 1 Accuracy',
    'accuracy/exit1_top1': 'Exit 1 Top 1 Accuracy',
    'accuracy/exit2_top1': 'Exit 2 Top 1 Accuracy',
    'accuracy/teacher_top1': 'Generated Teacher Top 1 Accuracy',
    'accuracy/ensemble_top1': 'Ensemble Top 1 Accuracy',
    'coco/bbox_mAP': 'box AP',
}
KEPT = ('Published', 'Weights')


def config_files() -> dict[Path, list[Path]]:
    """Configs by the folder that has their metafile; those that are bases or matrices left out."""
    folders = {}
    for folder in sorted(path for path in (ROOT / 'configs').iterdir() if path.is_dir()):
        if folder.name not in ('_base_', 'benchmark'):
            folders[folder] = sorted(folder.rglob('*.py'))
    return folders


def collection(folder: Path) -> dict[str, Any]:
    """A folder's entry: its title, and the paper's where the README begins with it."""
    readme = folder / 'README.md'
    if not readme.is_file():
        return dict(Name=folder.name)
    text = readme.read_text()
    entry = dict(Name=re.match(r'# (.+)', text)[1], README=str(readme.relative_to(ROOT)))
    paper = re.match(r'# .+\n\n\*([^*]+)\*', text)
    return dict(entry, Paper=dict(Title=' '.join(paper[1].split()))) if paper else entry


def dataset(loader: dict) -> str:
    """What the zoo calls the data of a loader, also below wrappers such as a repetition."""
    data = loader['dataset']
    while 'dataset' in data or 'datasets' in data:
        data = data.get('dataset') or data['datasets'][0]
    root = (data.get('data_root') or '').rstrip('/')
    name = DATA.get(data['type']) or next((DATA[key] for key in DATA if root.startswith(key)), None)
    if name is None:
        raise ValueError(f'data_root={root!r} of {data["type"]} is not in DATA of {__file__}')
    return name


def settings(path: Path) -> dict[str, Any]:
    """The metadata of a config."""
    cfg = Config.fromfile(path)
    cycle = cfg.train_cfg
    optimizer = cfg.optim_wrapper.optimizer
    found = {'Training Data': dataset(cfg.train_dataloader)}
    if 'max_epochs' in cycle:
        found['Epochs'] = cycle.max_epochs
    else:
        found['Iterations'] = cycle.max_iters
    # That of all processes, where configs say it.
    batch = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    found['Batch Size'] = batch or cfg.train_dataloader.batch_size
    found['Optimizer'] = f'{optimizer.type}, {optimizer.lr:g}'
    teachers = dict(cfg.model.get('teachers') or {})
    if cfg.model.get('teacher'):
        teachers['teacher'] = cfg.model.teacher
    names = [teacher_name(teacher['config']) for teacher in teachers.values()]
    if names:
        found['Teacher'] = ', '.join(names)
    losses = cfg.model.get('losses') or {}
    if losses:
        found['Losses'] = [
            f'{loss.type}, {loss.get("loss_weight", 1.0):g}' for loss in losses.values()
        ]
    return found


def teacher_name(config: str | dict) -> str:
    """A teacher's config as the zoo names it."""
    if not isinstance(config, str):
        return config.get('factory') or config['type']
    path = Path(config)
    return config if '::' in config else str((ROOT / path).resolve().relative_to(ROOT))


def rows_of_configs(rows: Iterable[Row]) -> dict[str, Row]:
    """Config to the row that stands for it.

    Of several that is the first without options of the model, or else the first. A row that puts
    another class into the model is none of its config: the control of a method, for instance.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        of_model = [key for key in row.options if key.startswith('model.')]
        if not any(key.endswith('.type') for key in of_model):
            found.setdefault(row.config.replace('mmkd::', 'configs/'), []).append(row)
    return {
        config: min(same, key=lambda row: any(key.startswith('model.') for key in row.options))
        for config, same in found.items()
    }


def measured(folder: Path = ROOT / 'docs/results') -> dict[str, list[dict[str, Any]]]:
    """Config to its results, one a page, means over seeds as the page has them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob('*.json')):
        if path.stem == step_page.NAME:
            continue
        matrix = read_matrix(f'mmkd::benchmark/{path.stem}.py')
        results = Results(matrix, json.loads(path.read_text()))
        for config, row in rows_of_configs(matrix.all_rows.values()).items():
            values = {
                METRICS[metric.key]: list(results.values(row, metric).values())
                for metric in matrix.metrics
                if metric.key in METRICS
            }
            means = {key: round(mean_interval(v)[0], 1) for key, v in values.items() if v}
            if means:
                task = 'Object Detection' if 'box AP' in means else 'Image Classification'
                entry = dict(
                    Task=task,
                    Metrics=means,
                    Seeds=len(results.runs[row.name]),
                    Source=f'docs/results/{path.stem}.md',
                    Row=row.label,
                )
                found.setdefault(config, []).append(entry)
    return found


def model(
    path: Path,
    name: str,
    before: Mapping[str, Any],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    only_results: bool,
) -> dict[str, Any]:
    """The entry of a config.

    Args:
        path (Path): Of the config.
        name (str): Of its collection.
        before (mapping): The entry as it stands, empty for a new one.
        results (mapping): From :func:`measured`.
        only_results (bool): Whether the settings stay as they stand.
    """
    config = str(path.relative_to(ROOT))
    said = before['Metadata'] if before and only_results else settings(path)
    entry = {
        'Name': '_'.join(Path(config).with_suffix('').parts[1:]),
        'In Collection': name,
        'Config': config,
        'Metadata': said,
    }
    if config in results:
        entry['Results'] = [
            {'Dataset': said['Training Data'], **found} for found in results[config]
        ]
    return entry | {key: before[key] for key in KEPT if key in before}


def metafile(folder: Path, paths: list[Path], results: Mapping, only_results: bool) -> str:
    """The text of a folder's metafile."""
    target = folder / 'metafile.yml'
    entries = yaml.safe_load(target.read_text())['Models'] if target.is_file() else ()
    before = {ROOT / entry['Config']: entry for entry in entries}
    head = collection(folder)
    models = [
        model(path, head['Name'], before.get(path, {}), results, only_results) for path in paths
    ]
    return dump(dict(Collections=[head], Models=models))


def dump(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)


def outdated(names: Sequence[str] = (), only_results: bool = False) -> dict[Path, str]:
    """Files whose text would change, with the new one.

    Args:
        names (sequence of str): Folders of `configs/` to look at. Defaults to all.
        only_results (bool): Whether settings are left as they stand. Defaults to False.

    Raises:
        ValueError: If there is no such folder.
    """
    folders = config_files()
    unknown = set(names) - {folder.name for folder in folders}
    if unknown:
        raise ValueError(f'{min(unknown)} is no folder of configs/ that has a metafile')
    results = measured()
    texts = {
        folder / 'metafile.yml': metafile(folder, paths, results, only_results)
        for folder, paths in folders.items()
        if not names or folder.name in names
    }
    index = dump(dict(Import=[f'{f.relative_to(ROOT)}/metafile.yml' for f in folders]))
    texts[ROOT / 'model-index.yml'] = f'# Written by tools/dev/metafiles.py\n{index}'
    return {
        path: text for path, text in texts.items() if not path.is_file() or path.read_text() != text
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folders', nargs='*', help='such as kd; by default all')
    parser.add_argument('--results', action='store_true', help='leave the settings as they stand')
    args = parser.parse_args()
    for path, text in outdated(args.folders, args.results).items():
        path.write_text(text)
        print(path.relative_to(ROOT))


if __name__ == '__main__':
    main()
