"""The zoo page, made from the metafiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import yaml

HEAD = """# Zoo

Every config with its settings, from the metafiles that `model-index.yml` lists. *Measured* are
means over seeds of our own runs, from the row and the page beside them, which give intervals and
the settings that differ from the config's, such as fewer images or more epochs; *published* is what
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


def results(entries: list[dict], source: Callable[[dict], str]) -> str:
    """A cell: metrics, and where they are from."""
    cells = []
    for entry in entries:
        metrics = ', '.join(f'{name} {value:g}' for name, value in entry['Metrics'].items())
        cells.append(f'{metrics} ({source(entry)})')
    return '; '.join(cells)


def measured(entry: dict) -> str:
    """Seeds, row, and a link to the page of results, relative to this page."""
    page = entry['Source']
    seeds = f'{entry["Seeds"]} seed' + 's' * (entry['Seeds'] > 1)
    return f'{seeds}, [{Path(page).stem}](../{page.removeprefix("docs/")}): {entry["Row"]}'


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
                results(model.get('Results', []), measured),
                results(model.get('Published', []), itemgetter('Source')),
            )
            text += f'| {" | ".join(cells)} |\n'
        text += '\n'
    return text
