"""One page of a training or a comparison that opens from the file system."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from jinja2 import Environment
from mmengine.config import Config

from mmkd.files import write_whole
from mmkd.version import __version__

from .boxes import draw_detector_cam, draw_differences
from .calibration import draw_calibration, scores
from .classes import draw_classes
from .curves import draw_curves, read_scalars
from .detection import OF_CLASS, draw_errors, draw_precision
from .embeddings import draw_embeddings
from .examples import draw_cam, draw_feature_maps
from .picture import Picture
from .similarity import draw_similarity
from .study import Study

#: Picture to how it is drawn, of classifiers and of detectors, in the order of the page.
CLASSIFICATION: dict[str, Callable[..., Picture]] = {
    'calibration': draw_calibration,
    'classes': draw_classes,
    'embeddings': draw_embeddings,
    'similarity': draw_similarity,
    'cam': draw_cam,
    'feature_maps': draw_feature_maps,
}
DETECTION: dict[str, Callable[..., Picture]] = {
    'precision': draw_precision,
    'errors': draw_errors,
    'differences': draw_differences,
    'cam': draw_detector_cam,
    'similarity': draw_similarity,
    'feature_maps': draw_feature_maps,
}


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        title (str): Heading.
        said (str): What was found, in a sentence or two.
        tables (list[list[sequence of str]]): Rows of each table, the first one its head.
        pictures (list[Picture]): With their captions.
        left_out (list[str]): Why a picture is not there.
        details (dict[str, str]): Label to text that is folded.
    """

    title: str
    said: str = ''
    tables: list[list[Sequence[str]]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    details: Mapping[str, str] = field(default_factory=dict)


def write_report(
    path: Path, title: str, sections: Sequence[Section], command: Sequence[str]
) -> Path:
    """Write the page, with everything in it; the file.

    Args:
        path (Path): Where to.
        title (str): Heading.
        sections (sequence of Section): The parts.
        command (sequence of str): Name and arguments of the command that makes it.
    """
    environment = Environment(autoescape=True)
    environment.filters['png'] = lambda picture: base64.b64encode(picture.png).decode()
    template = environment.from_string((Path(__file__).parent / 'report.html').read_text())
    subtitle = f'{date.today()}, mmkd {__version__}: mmkd {shlex.join(command)}'
    page = template.render(title=title, subtitle=subtitle, sections=sections)
    write_whole(path, page.encode())
    return path


def pictures(study: Study) -> tuple[list[Picture], list[str]]:
    """Draw what can be drawn of a study; the pictures, and why others cannot be."""
    known = CLASSIFICATION if study.is_classification else DETECTION
    drawn, left_out = [], []
    for draw in known.values():
        try:
            drawn.append(draw(study))
        except (ImportError, ValueError) as error:
            left_out.append(f'Left out: {error}.')
    return drawn, left_out


def _parameters(study: Study) -> dict[str, str]:
    counts = {n.name: sum(p.numel() for p in n.model.parameters()) for n in study.networks}
    return {name: f'{count / 1e6:.3g}' for name, count in counts.items()}


def _keys(study: Study) -> list[str]:
    """What is measured over all classes; pycocotools says -1 where there are no boxes."""
    values = study.metrics.values()
    keys = [key for key in next(iter(values)) if not key.endswith(OF_CLASS)]
    return [key for key in keys if any(found[key] >= 0 for found in values)]


def table(study: Study) -> list[Sequence[str]]:
    """What each network reaches, and its parameters."""
    parameters = _parameters(study)
    if study.is_classification:
        rows: list[Sequence[str]] = [('', 'M parameters', 'top-1 (%)', 'NLL', 'ECE (%)')]
        for network in study.scored:
            found = scores(study.outputs[network.name].logits, study.labels)
            numbers = (f'{found["top1"]:.2f}', f'{found["nll"]:.3f}', f'{found["ece"]:.1f}')
            rows.append((network.name, parameters[network.name], *numbers))
        return rows
    keys = _keys(study)
    rows = [('', 'M parameters', *keys)]
    for name, found in study.metrics.items():
        rows.append((name, parameters[name], *(f'{found[key]:.3f}' for key in keys)))
    return rows


def findings(study: Study) -> str:
    """What the main network has over the one before it, and the teacher's part in it."""
    main, before = study.main, study.before
    if before is None:
        return ''
    if not study.is_classification:
        key, *_ = _keys(study)
        ours, theirs = (study.metrics[n.name][key] for n in (main, before))
        return f'{key}: {ours:.3f} of {main.name} against {theirs:.3f} of {before.name}.'
    if before not in study.scored:
        return ''
    ours, theirs = study.right(main), study.right(before)
    won, lost = ours & ~theirs, theirs & ~ours
    text = (
        f'Of {len(ours)} test images, {main.name} gets {won.sum()} right that {before.name} gets '
        f'wrong, and {lost.sum()} the other way round.'
    )
    for teacher in study.scored:
        if teacher.role == 'teacher' and teacher is not before and won.any():
            knows = study.right(teacher)
            text += f' Of the {won.sum()}, {teacher.name} knows {knows[won].sum()}'
            text += f'; of the {lost.sum()} lost ones, it knows {knows[lost].sum()}.'
    return text


def settings(cfg: Config) -> list[Sequence[str]]:
    """What the config says of the training: terms, schedule and data."""
    model = cfg.model
    rows: list[Sequence[str]] = [('Setting', 'Value'), ('model', str(model.type))]
    for name, term in (model.get('losses') or {}).items():
        taps = ' against '.join(str(term[side]) for side in ('student', 'teacher') if side in term)
        weight = term.get('loss_weight')
        said = f'{term.type}, {taps}' + (f', weight {weight}' if weight is not None else '')
        rows.append((f'losses.{name}', said))
    if model.get('objective'):
        rows.append(('objective', str(model.objective.type)))
    if model.get('student_loss_weight') is not None:
        rows.append(('student_loss_weight', str(model.student_loss_weight)))
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    if optimizer:
        rest = ', '.join(f'{key}={value}' for key, value in optimizer.items() if key != 'type')
        rows.append(('optimizer', f'{optimizer["type"]}: {rest}'))
    loop = cfg.get('train_cfg') or {}
    for key in ('max_epochs', 'max_iters'):
        if key in loop:
            rows.append((key, str(loop[key])))
    if cfg.get('train_dataloader'):
        rows.append(('batch size', str(cfg.train_dataloader.get('batch_size'))))
    rows.append(('test data', str(cfg.test_dataloader.dataset.type)))
    return rows


def curves(study: Study, folders: Mapping[str, Path]) -> Picture | None:
    """Draw what the trainings in some folders logged, by the names of their networks.

    None if none of them has logged an evaluation.
    """
    runs = {}
    for name, folder in folders.items():
        try:
            runs[name] = [read_scalars(folder)]
        except FileNotFoundError:
            continue
    metric = _metric(runs.get(study.main.name))
    runs = {name: run for name, run in runs.items() if any(metric in record for record in run[0])}
    if metric is None or not runs:
        return None
    colors = {network.name: network.color for network in study.networks}
    caption = 'Evaluations of the training, and its losses.'
    return Picture('curves', 'Curves', draw_curves(runs, metric, colors), caption)


def _metric(run: Sequence[Sequence[dict]] | None) -> str | None:
    """The first metric that a run logged: losses and rates have no prefix."""
    keys = (key for record in (run or [[]])[0] for key in record)
    return next((key for key in keys if '/' in key and not key.startswith('teacher')), None)


def study_section(study: Study, title: str, logged: Picture | None = None) -> Section:
    """All of a study: table, settings, curves and pictures.

    Args:
        study (Study): What is compared.
        title (str): Heading.
        logged (Picture, optional): Curves. Defaults to None, there are none.
    """
    drawn, left_out = pictures(study)
    return Section(
        title,
        findings(study),
        [table(study), settings(study.cfg)],
        [*([logged] if logged else []), *drawn],
        left_out,
        {'The whole config': study.cfg.pretty_text},
    )
