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
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords='knowledge distillation, model compression, classification, detection, OpenMMLab',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Typing :: Typed',
    ],
    packages=find_packages(include=['mmkd', 'mmkd.*']),
    # .mim, where OpenMMLab's packages have configs and tools, links to the folders of the clone.
    package_data={
        'mmkd': [
            'py.typed',
            'analysis/report.html',
            '.mim/model-index.yml',
            '.mim/configs/**/*.py',
            '.mim/configs/**/*.md',
            '.mim/configs/*/metafile.yml',
            '.mim/tools/*',
            '.mim/tools/analysis/*',
            '.mim/tools/misc/*',
        ]
    },
    entry_points={'console_scripts': ['mmkd = mmkd.cli:main']},
    python_requires='>=3.10,<3.13',
    install_requires=read_requirements('runtime.txt'),
    # One of the first two; each brings what is imported as mmengine, mmdet and mmpretrain.
    extras_require={
        'openmmlab': read_requirements('openmmlab.txt'),
        'onedl': read_requirements('onedl.txt'),
        'tests': read_requirements('tests.txt'),
        'dev': read_requirements('dev.txt'),
        'docs': read_requirements('docs.txt'),
        'timm': read_requirements('timm.txt'),
        # pytorch-grad-cam, for `mmkd analyze cam`.
        'analysis': read_requirements('analysis.txt'),
        # For TensorboardVisBackend of MMEngine (docs/howto/logs.md).
        'tensorboard': read_requirements('tensorboard.txt'),
    },
)
