"""Print a config with its bases and options resolved, and write it with --out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import DictAction

from mmkd.engine.config import read_config


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help="config file, or a name such as 'mmkd::demo/digits_kd.py'")
    parser.add_argument('--out', type=Path, help='file to write it to, such as resolved.py')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    args = parser.parse_args(argv)
    cfg = read_config(args.config, 'CONFIG')
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    print(cfg.pretty_text)
    if args.out is not None:
        if args.out.exists():
            raise SystemExit(f'{args.out} exists; give another name')
        cfg.dump(args.out)
