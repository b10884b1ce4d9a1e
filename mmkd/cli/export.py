"""Write the student of any checkpoint of a distiller as a plain model file and its config."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

import mmkd  # noqa: F401  (safe loading)
from mmkd.publish import num_students, publish, published_path


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help="the distiller's config file")
    parser.add_argument('checkpoint', help="a checkpoint of the distiller's")
    parser.add_argument('out', help='file to write, such as student.pth; the config goes beside it')
    parser.add_argument(
        '--keep-exits', action='store_true', help='with the exits, for early-exit inference'
    )
    parser.add_argument('--force', action='store_true', help='overwrite existing files')
    args = parser.parse_args(argv)
    out = Path(args.out)
    if out.suffix != '.pth':
        raise SystemExit(f'OUT must end in .pth, found {args.out}')
    cfg = Config.fromfile(args.config)
    outs = [published_path(out, index) for index in range(num_students(cfg))]
    existing = [
        str(path)
        for weights in outs
        for path in (weights, weights.with_suffix('.py'))
        if path.exists()
    ]
    if existing and not args.force:
        raise SystemExit(f'{" and ".join(existing)} exist; give another OUT or --force')
    checkpoint = CheckpointLoader.load_checkpoint(args.checkpoint, 'cpu', logger='silent')
    for path in publish(checkpoint, cfg, out, args.keep_exits):
        print(f'{path} and {path.with_suffix(".py")}')
