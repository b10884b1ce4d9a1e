"""Distil a teacher into a student: two configs and the name of a method.

Chooses what the method compares, prints it, writes a short config into the work dir, and trains it.
STUDENT and TEACHER are config files or names of a model zoo, such as
'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py' or 'mmpretrain::resnet/resnet18_8xb32_in1k.py'.
Data, schedule and evaluation are those of the student's config.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmkd import recipes
from mmkd.cli.launch import is_first_process
from mmkd.cli.train import add_training_arguments, train
from mmkd.engine.config import read_config
from mmkd.models.image_shape import DEFAULT_SHAPE
from mmkd.publish import distiller
from mmkd.recipes import Compared, Pair, Point, Recipe, Reference, UnfitError

_WIDTH = 100
#: What a config of a distiller has beside a plain one.
_HOOKS = dict(
    publish=dict(type='mmkd.PublishStudentHook'),
    step_seed=dict(type='mmkd.StepSeedHook'),
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('student', help="config file or zoo name of the student's")
    parser.add_argument('teacher', help="config file or zoo name of the teacher's")
    parser.add_argument(
        '--method',
        required=True,
        choices=recipes.METHODS,
        metavar='METHOD',
        help=f'for detectors {", ".join(recipes.DETECTION)}; '
        f'for classifiers {", ".join(recipes.CLASSIFICATION)}',
    )
    parser.add_argument(
        '--teacher-checkpoint', help="the teacher's weights; without it those of the model zoo"
    )
    parser.add_argument('--student-checkpoint', help='start from these weights of a plain student')
    parser.add_argument(
        '--dry-run', action='store_true', help='only print the taps and write the config'
    )
    add_training_arguments(parser)
    return parser.parse_args(argv)


def examine(args: argparse.Namespace) -> Pair:
    """Build both models without weights and look at them.

    Raises:
        SystemExit: If that cannot be done.
    """
    student_cfg = read_config(args.student, 'STUDENT')
    teacher_cfg = read_config(args.teacher, 'TEACHER')
    if '::' not in args.student and Config._is_lazy_import(args.student):
        raise SystemExit(
            f'STUDENT {args.student} is written with read_base(), which a config that starts from '
            'it would have to be too; give one with _base_, or write the config by hand'
        )
    if 'model' in student_cfg and distiller(student_cfg) is not None:
        raise SystemExit(
            f'STUDENT {args.student} is the config of a distiller; give the plain config of its '
            'student'
        )
    has_weights = '::' in args.teacher or teacher_cfg.get('model', {}).get('init_cfg')
    if not (has_weights or args.teacher_checkpoint or args.dry_run):
        raise SystemExit(
            f'--teacher-checkpoint is missing: give the weights of TEACHER {args.teacher}'
        )
    # Model, lengths and data are those that training will have.
    for key, value in args.cfg_options.items():
        if not key.startswith('model.') or key.startswith('model.student.'):
            student_cfg.merge_from_dict({key.replace('model.student.', 'model.', 1): value})
    try:
        student = recipes.build(student_cfg, f'STUDENT {args.student}')
        teacher = recipes.build(teacher_cfg, f'TEACHER {args.teacher}')
        size = recipes.training_size(student_cfg)
        return Pair(*recipes.examine(student, teacher, size), student_cfg)
    except ValueError as error:
        raise SystemExit(str(error)) from error


def choose(method: str, pair: Pair) -> tuple[Recipe, list[Compared]]:
    """The recipe of a method and what it compares.

    Raises:
        SystemExit: If it does not suit the pair; the message names those that do.
    """
    table = recipes.recipes_for(pair)
    try:
        if method not in table:
            others = 'classifiers' if pair.student.is_detector else 'detectors'
            raise UnfitError(f'it is for {others}')
        return table[method], recipes.compare(table[method], pair)
    except UnfitError as error:
        fitting = ', '.join(recipes.fitting(pair)) or 'none'
        raise SystemExit(
            f'--method {method} does not suit this pair: {error}. Methods that do: {fitting}'
        ) from error


def _shape(point: Point) -> str:
    channels = str(point.value.shape[1])
    if point.stride is None:
        return channels
    share = '' if point.stride == 1 else f'/{point.stride}'
    return f'{channels} x H{share} x W{share}'


def table(
    method: str, recipe: Recipe, pair: Pair, term: dict[str, Any], found: list[Compared]
) -> str:
    """What is compared, for people."""
    weights = {
        key: value
        for key, value in term.items()
        if key not in ('type', 'student', 'teacher', *recipe.from_pair)
    }
    rows = [('', 'student', '', 'teacher', '')]
    for index, (ours, theirs) in enumerate(found):
        label = '' if index else method
        rows.append((label, ours.tap, _shape(ours), theirs.tap, _shape(theirs)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        '  '.join(f'{cell:{width}}' for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    arguments = ', '.join(f'{key}={value}' for key, value in weights.items())
    weight = recipe.student_loss_weight.get(pair.student.kind)
    own = '' if weight is None else f', student_loss_weight={weight}'
    return '\n'.join([*lines, '', f'{term["type"]}({arguments}){own}'])


def source_of(value: Any, column: int = 0, indent: int = 0) -> str:
    """Python source of a value: in one line where it fits, else one item a line.

    Args:
        value (Any): What ``repr`` writes, dicts with names for keys, and :class:`Reference`.
        column (int): Characters before it in its line.
        indent (int): Indentation of its line.
    """
    if isinstance(value, Reference):
        if not value.changes:
            return f'_base_.{value.path}'
        items = [('', replace(value, changes={}))]
        items += [(f'{key}=', item) for key, item in value.changes.items()]
        brackets = 'dict(', ')'
    elif isinstance(value, (list, tuple)):
        items, brackets = [('', item) for item in value], '[]' if isinstance(value, list) else '()'
    elif isinstance(value, dict):
        items, brackets = [(f'{key}=', item) for key, item in value.items()], ('dict(', ')')
    else:
        return repr(value)
    flat = brackets[0] + ', '.join(k + source_of(v, -(_WIDTH**2)) for k, v in items) + brackets[1]
    if column + len(flat) < _WIDTH:
        return flat
    pad = ' ' * (indent + 4)
    lines = [
        f'{pad}{key}{source_of(item, len(pad) + len(key), indent + 4)},' for key, item in items
    ]
    return '\n'.join([brackets[0], *lines, ' ' * indent + brackets[1]])


def _locate(source: str, folder: Path) -> str:
    """A config as the written one in ``folder`` names it: a zoo's name, or a relative path."""
    return source if '::' in source else os.path.relpath(source, folder)


def _student(pair: Pair) -> Reference:
    """The base's model, padding to what suits the teacher too."""
    ours, theirs = pair.student.pad_size_divisor, pair.teacher.pad_size_divisor
    changes = {}
    if ours % theirs:
        padding = dict(pad_size_divisor=math.lcm(ours, theirs))
        changes['data_preprocessor'] = Reference('model.data_preprocessor', None, padding)
    return Reference('model', pair.cfg.model, changes)


def write_config(
    args: argparse.Namespace, pair: Pair, recipe: Recipe, term: dict, folder: Path
) -> str:
    """The text of the config of a distiller.

    Args:
        args (Namespace): The command line.
        pair (Pair): Student and teacher.
        recipe (Recipe): The method.
        term (dict): Its term.
        folder (Path): Where the config will lie.
    """
    cfg, entries = pair.cfg, {}
    imports = cfg.get('custom_imports', {}).get('imports', [])
    imports = [imports] if isinstance(imports, str) else list(imports)
    if not any(name.split('.')[0] == 'mmkd' for name in imports):
        entries['custom_imports'] = dict(imports=[*imports, 'mmkd'])
    present = {hook.get('type') for hook in cfg.get('default_hooks', {}).values() if hook}
    hooks = {key: hook for key, hook in _HOOKS.items() if hook['type'] not in present}
    if hooks:
        entries['default_hooks'] = hooks
    if args.student_checkpoint is not None:
        entries['load_from'] = args.student_checkpoint
    constructor = cfg.get('optim_wrapper', {}).get('constructor')
    if constructor not in (None, 'DefaultOptimWrapperConstructor'):
        entries['optim_wrapper'] = dict(
            constructor='mmkd.StudentOptimWrapperConstructor',
            paramwise_cfg=dict(student_constructor=constructor),
        )
    here = '' if '::' in args.teacher else '{{ fileDirname }}/'
    teacher = dict(config=here + _locate(args.teacher, folder))
    if args.teacher_checkpoint is not None:
        teacher['checkpoint'] = args.teacher_checkpoint
    model = dict(
        _delete_=True,
        type='mmkd.DetectionDistiller' if pair.student.is_detector else 'mmkd.OfflineDistiller',
        student=_student(pair),
        teacher=teacher,
        losses={args.method: term},
    )
    weight = recipe.student_loss_weight.get(pair.student.kind)
    if weight is not None:
        model['student_loss_weight'] = weight
    if pair.student.input_shape != DEFAULT_SHAPE:
        model['input_shape'] = pair.student.input_shape
    entries['model'] = model
    text = [f'_base_ = {_locate(args.student, folder)!r}', '']
    text += [f'{key} = {source_of(value, len(key) + 3)}' for key, value in entries.items()]
    return '\n'.join(text) + '\n'


def sign(text: str) -> str:
    """Put a line before the text by which :func:`save` sees whether somebody has edited it."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f'# Written by mmkd distill; once edited it is not overwritten. {digest}\n{text}'


def save(path: Path, text: str) -> None:
    """Write the signed config, unless one is there that was edited.

    Raises:
        SystemExit: If one is.
    """
    if path.exists():
        found = path.read_text()
        if found != sign(found.partition('\n')[2]):
            raise SystemExit(
                f'{path} was edited and is not overwritten; train it as it is with '
                f'tools/train.py {path}, or give another --work-dir'
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    # In one step: every process of a distributed run comes here.
    part = path.with_suffix(f'.{os.getpid()}')
    part.write_text(sign(text))
    part.replace(path)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    stems = [Path(source.split('::')[-1]).stem for source in (args.teacher, args.student)]
    name = '_'.join([args.method, *stems])
    default_dir = Path('work_dirs') / name
    work_dir = Path(args.work_dir or default_dir)
    # The runner writes its full config under the same name into the work dir itself.
    path = work_dir / 'config' / f'{name}.py'
    lines = []
    if args.resume is None or not path.exists():
        pair = examine(args)
        recipe, found = choose(args.method, pair)
        try:
            term = recipes.write_term(recipe, pair, found)
        except FileNotFoundError as error:
            raise SystemExit(
                f'--method {args.method} needs the training data of {args.student}: {error}'
            ) from error
        save(path, write_config(args, pair, recipe, term, path.parent))
        lines += [table(args.method, recipe, pair, term, found), '']
    command = ['tools/dist_train.sh', str(path), 'GPUS']
    if work_dir != default_dir:
        command += ['--work-dir', str(work_dir)]
    lines += [f'config: {path}', f'on several GPUs: {shlex.join(command)}']
    if is_first_process():
        print('\n'.join(lines), flush=True)
    if not args.dry_run:
        args.config, args.work_dir = str(path), str(work_dir)
        train(args)
