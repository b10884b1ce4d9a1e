"""Packaging of mmkd. `make env` sets up a whole working environment; see CONTRIBUTING.md."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_version() -> str:
    """The version, without importing mmkd, whose import needs mmcv."""
    scope = {}
    exec((ROOT / 'mmkd/version.py').read_text(), scope)
    return scope['__version__']


def read_requirements(name: str) -> list[str]:
    """The requirements in ``requirements/<name>``, without comments; `-r` lines are followed."""
    requirements = []
    for line in (ROOT / 'requirements' / name).read_text().splitlines():
        if line.startswith('-r '):
            requirements += read_requirements(line.removeprefix('-r '))
        elif line and not line.startswith('#'):
            requirements.append(line)
    return requirements


setup(
    name='mmkd',
    version=read_version(),
    description='Knowledge distillation for MMPretrain classifiers and MMDetection detectors',
    license='Apache-2.0',
    packages=find_packages(include=['mmkd', 'mmkd.*']),
    python_requires='>=3.10,<3.13',
    install_requires=read_requirements('runtime.txt'),
    extras_require={
        'tests': read_requirements('tests.txt'),
        'dev': read_requirements('dev.txt'),
    },
)
