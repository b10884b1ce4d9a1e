"""Look at what was trained: pictures, and a page of all of them.

PICTURE is `report`, the page, or one of its pictures. Each sets the frozen teachers of CONFIG, the
networks given by --with, and what CONFIG trained beside each other, on the test data of CONFIG:

    mmkd analyze report kd.py work_dirs/kd/epoch_30.pth --with student student.py student.pth

CHECKPOINT is of training or published; of several, each is drawn. Writes NAME.png and its numbers,
or report.html, into a folder, and says what is to be seen.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import DictAction

import mmkd  # noqa: F401  (safe loading)
from mmkd.analysis.embeddings import METHODS
from mmkd.analysis.report import CLASSIFICATION, DETECTION, curves, study_section, write_report
from mmkd.analysis.study import Study, read_study


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('picture', choices=['report', *{**CLASSIFICATION, **DETECTION}])
    parser.add_argument('config', help='config of a distiller or of a plain model')
    parser.add_argument('checkpoint', nargs='+', help='what it trained, also published')
    parser.add_argument(
        '--with',
        dest='others',
        nargs=3,
        action='append',
        default=[],
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='another network, such as the student trained alone; may be repeated',
    )
    parser.add_argument('--out', type=Path, default=Path('work_dirs/analysis'), help='folder')
    parser.add_argument('--num-images', type=int, help='how many images one picture is of')
    parser.add_argument('--method', choices=METHODS, help='of embeddings (default: tsne)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    args = parser.parse_args(argv)
    if args.num_images is not None and args.num_images < 1:
        parser.error(f'--num-images {args.num_images}: give 1 or more')
    return args


def folders(study: Study, args: argparse.Namespace) -> dict[str, Path]:
    """Where the trainings of the networks lie, by name: beside their checkpoints."""
    found = {name: Path(checkpoint).parent for name, _, checkpoint in args.others}
    teacher = (study.cfg.model.get('teacher') or {}).get('checkpoint')
    if teacher:
        found['teacher'] = Path(teacher).parent
    return {**found, study.main.name: Path(args.checkpoint[-1]).parent}


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    study = read_study(args.config, args.checkpoint, args.others, args.cfg_options)
    options = dict(num_images=args.num_images, method=args.method)
    options = {name: value for name, value in options.items() if value is not None}
    kind = 'classifiers' if study.is_classification else 'detectors'
    known = CLASSIFICATION if study.is_classification else DETECTION
    if args.picture != 'report' and args.picture not in known:
        raise SystemExit(f'{args.picture} is not drawn of {kind}; expected {", ".join(known)}')
    takes = inspect.signature(known[args.picture]).parameters if args.picture in known else ()
    for name in options.keys() - set(takes):
        raise SystemExit(f'--{name.replace("_", "-")} is no option of {args.picture}')
    if args.picture == 'report':
        title = ' and '.join(network.name for network in study.networks)
        logged = curves(study, folders(study, args))
        section = study_section(study, Path(args.config).stem, logged)
        print(section.said)
        command = ['analyze', *(sys.argv[1:] if argv is None else argv)]
        print(write_report(args.out / 'report.html', title, [section], command))
        return
    picture = known[args.picture](study, **options)
    print(picture.caption)
    print(picture.save(args.out))
