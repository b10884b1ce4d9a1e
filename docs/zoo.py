"""The zoo page, made from the metafiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

HEAD = """# Zoo

Every config with its settings, from the metafiles that `model-index.yml` lists. *Measured* are
our own runs, under the conditions that the page beside them gives, at its date; *published* is what
a paper reports, not reproduced here. There are no weights to download yet. Batch sizes are those of
all processes.

"""
COLUMNS = (
    *('config', 'data', 'length', 'batch', 'optimizer, rate', 'teacher'),
    *('measured', 'published'),
)


def metafiles(root: Path) -> Iterator[dict[str, Any]]:
    """The metafiles of the tree in their order."""
    for name in yaml.safe_load((root / 'model-index.yml').read_text())['Import']:
        yield yaml.safe_load((root / name).read_text())


def results(entries: list[dict], source: Callable[[str], str]) -> str:
    """A cell: metrics, and where they are from."""
    cells = []
    for entry in entries:
        metrics = ', '.join(f'{name} {value:g}' for name, value in entry['Metrics'].items())
        cells.append(f'{metrics} ({source(entry["Source"])})')
    return '; '.join(cells)


def link(source: str) -> str:
    """A page of results by its name, relative to the page."""
    return f'[{Path(source).stem}](../{source.removeprefix("docs/")})'


def page(root: Path) -> str:
    """The text of the page, which lies in `generated/`."""
    text = HEAD
    for file in metafiles(root):
        (collection,) = file['Collections']
        text += f'## {collection["Name"]}\n\n'
        if 'README' in collection:
            text += f'[About](methods/{Path(collection["README"]).parent.name}.md)\n\n'
        text += f'| {" | ".join(COLUMNS)} |\n|{" --- |" * len(COLUMNS)}\n'
        for model in file['Models']:
            said = model['Metadata']
            unit = 'Epochs' if 'Epochs' in said else 'Iterations'
            length = f'{said[unit]} {unit.lower()}'
            cells = (
                f'`{model["Config"].removeprefix("configs/")}`',
                said['Training Data'],
                length,
                str(said['Batch Size']),
                said['Optimizer'],
                f'`{said["Teacher"]}`' if 'Teacher' in said else '',
                results(model.get('Results', []), link),
                results(model.get('Published', []), str),
            )
            text += f'| {" | ".join(cells)} |\n'
        text += '\n'
    return text
