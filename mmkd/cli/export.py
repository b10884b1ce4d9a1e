"""Write the student of any checkpoint of a distiller as a plain model file and its config.

With --onnx as an ONNX file, which needs neither: its input `images`, (N, C, H, W), is normalised
already, as by the model's data preprocessor, with any N. A classifier gives `logits`, or with
--keep-exits `exit1`, ..., `main`; a one-stage detector what its head gives on each level, before
NMS; a two-stage detector the maps of its neck and what its RPN gives. Where onnxruntime is
installed, the file is compared with the model.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

import mmkd  # noqa: F401  (safe loading)
from mmkd.engine.config import read_config
from mmkd.publish import (
    load_plain,
    num_students,
    plain_model,
    publish,
    published_path,
    student_state_dict,
)
from mmkd.registry import MODELS


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help="the distiller's config file")
    parser.add_argument('checkpoint', help="a checkpoint of the distiller's")
    parser.add_argument(
        'out', nargs='?', help='file to write, such as student.pth; the config goes beside it'
    )
    parser.add_argument('--onnx', help='ONNX file to write, such as student.onnx')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=3,
        metavar=('C', 'H', 'W'),
        help='of the images of the ONNX file; by default what the config says, and for a detector '
        'whose config does not say 3 640 640',
    )
    parser.add_argument(
        '--keep-exits', action='store_true', help='with the exits, for early-exit inference'
    )
    parser.add_argument(
        '--hash',
        action='store_true',
        help="end the weights' name in the first eight digits of their SHA-256, as OpenMMLab names "
        'files for download: student-1a2b3c4d.pth',
    )
    parser.add_argument('--force', action='store_true', help='overwrite existing files')
    # OUT may stand after options.
    return parser.parse_intermixed_args(argv)


def check_args(args: argparse.Namespace, count: int) -> None:
    """Refuse what cannot be written, before anything is.

    Args:
        args (argparse.Namespace): The arguments.
        count (int): How many students the config trains.

    Raises:
        SystemExit: With the reason.
    """
    if args.out is None and args.onnx is None:
        raise SystemExit('nothing to write: give OUT, such as student.pth, or --onnx student.onnx')
    if args.hash and args.out is None:
        raise SystemExit('--hash names the file OUT, such as student.pth, which is not given')
    if args.shape is not None and (args.onnx is None or min(args.shape) < 1):
        raise SystemExit(f'--shape {args.shape}: give three positive numbers, and --onnx with them')
    paths = []
    for name, value, endings in (
        ('OUT', args.out, ('.pth', '.py')),
        ('--onnx', args.onnx, ('.onnx',)),
    ):
        if value is None:
            continue
        if Path(value).suffix != endings[0]:
            raise SystemExit(f'{name} must end in {endings[0]}, found {value}')
        outs = [published_path(value, index) for index in range(count)]
        paths += [path.with_suffix(ending) for path in outs for ending in endings]
    existing = [str(path) for path in paths if path.exists()]
    if existing and not args.force:
        raise SystemExit(f'{" and ".join(existing)} exist; give another name or --force')


def load_students(cfg: Config, state_dict: dict, args: argparse.Namespace) -> list[nn.Module]:
    """Every student of a config with its weights, which have to fit key by key."""
    students = []
    for index in range(num_students(cfg)):
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            students.append(MODELS.build(plain_model(cfg, index, args.keep_exits)))
        weights = student_state_dict(cfg, state_dict, index, args.keep_exits)
        load_plain(students[-1], weights, f'CHECKPOINT {args.checkpoint}')
    return students


def hashed(path: Path) -> Path:
    """Rename a file of weights to end in its hash, which torch.hub and mim check downloads by."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(path.with_stem(f'{path.stem}-{digest[:8]}'))


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    cfg = read_config(args.config, 'CONFIG')
    check_args(args, num_students(cfg))
    if args.onnx is not None:
        from mmkd.export import export, image_shape, require_onnx

        require_onnx()
    checkpoint = CheckpointLoader.load_checkpoint(args.checkpoint, 'cpu', logger='silent')
    students = load_students(cfg, checkpoint.get('state_dict', checkpoint), args)
    if args.out is not None:
        for path in publish(checkpoint, cfg, args.out, args.keep_exits):
            config = path.with_suffix('.py')
            print(f'{hashed(path) if args.hash else path} and {config}')
    if args.onnx is not None:
        for index, model in enumerate(students):
            path, shape = published_path(args.onnx, index), args.shape or image_shape(model, cfg)
            print(f'{path}: {"; ".join(export(model, path, shape))}')
