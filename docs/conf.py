"""The site: pages of this folder, READMEs of the tree and docstrings."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

import zoo  # noqa: E402

from mmkd.version import __version__  # noqa: E402

project, author, release = 'mmkd', 'the authors of mmkd', __version__
extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
]
myst_enable_extensions = ['colon_fence', 'dollarmath']
myst_heading_anchors = 3
# Blocks of Python in the pages use `...` for what a reader fills in.
suppress_warnings = ['misc.highlighting_failure']
autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
napoleon_google_docstring, napoleon_numpy_docstring = True, False
html_theme = 'furo'
html_title = f'mmkd {release}'
exclude_patterns = ['_build']

#: Page of the site to the file of the tree that it is.
PAGES = {
    'generated/get_started': ROOT / 'README.md',
    'generated/changelog': ROOT / 'CHANGELOG.md',
    'generated/contributing': ROOT / 'CONTRIBUTING.md',
    **{
        f'generated/methods/{path.parent.name}': path
        for path in sorted(ROOT.glob('configs/*/README.md'))
    },
}
_PAGE_OF = {path.resolve(): page for page, path in PAGES.items()}
_LINK = re.compile(r'(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)]*)?\)')


def relink(text: str, source: Path, page: str) -> str:
    """Point links of a file of the tree to pages; to what is no page, name the file instead."""

    def link(match: re.Match) -> str:
        label, target, anchor = match[1], match[2], match[3] or ''
        if '://' in target or target.startswith('mailto:'):
            return match[0]
        path = (source.parent / target).resolve()
        path = path / 'README.md' if path.is_dir() and (path / 'README.md').is_file() else path
        there = _PAGE_OF.get(path)
        if there is None and path.suffix == '.md' and path.is_relative_to(DOCS):
            there = str(path.relative_to(DOCS).with_suffix(''))
        if there is not None:
            return f'[{label}]({os.path.relpath(there, Path(page).parent)}.md{anchor})'
        name = os.path.relpath(path, ROOT)
        return label if Path(name).name in label or name in label else f'{label} (`{name}`)'

    return _LINK.sub(link, text)


def generate(app: Sphinx) -> None:
    """Write the pages that are files of the tree."""
    methods = []
    for page, path in PAGES.items():
        target = DOCS / f'{page}.md'
        target.parent.mkdir(parents=True, exist_ok=True)
        text = relink(path.read_text(), path, page)
        if not target.is_file() or target.read_text() != text:
            target.write_text(text)
        if page.startswith('generated/methods/'):
            methods.append(Path(page).name)
    index = '# Methods\n\nOne page a folder of `configs`.\n\n```{toctree}\n' + '\n'.join(methods)
    (DOCS / 'generated/zoo.md').write_text(zoo.page(ROOT))
    (DOCS / 'generated/methods/index.md').write_text(f'{index}\n```\n')


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Point links of the pages that lie in this folder, before they are parsed."""
    if not page.startswith('generated/'):
        path = DOCS / f'{page}.md'
        if path.is_file():
            source[0] = relink(source[0], path, page)


def setup(app: Sphinx) -> None:
    app.connect('builder-inited', generate)
    app.connect('source-read', read)
