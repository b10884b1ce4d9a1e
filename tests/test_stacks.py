"""The two stacks that mmkd runs on: OpenMMLab's packages and OneDL's forks (docs/stacks.md)."""

import subprocess
import sys
from pathlib import Path

import mmcv
import mmdet
import mmpretrain
import pytest
from mmengine.runner import checkpoint
from mmengine.utils import digit_version
from packaging.requirements import Requirement

from mmkd import stack
from mmkd.engine.checkpoint import load_safely
from mmkd.stack import ONEDL, OPENMMLAB, check_stack, installed_stack

ROOT = Path(__file__).parents[1]
STACKS = pytest.mark.parametrize('named', [OPENMMLAB, ONEDL], ids=lambda named: named.extra)


@pytest.fixture
def install(monkeypatch):
    """Let the environment hold the packages of these names."""

    def install(*packages, **versions):
        versions.update(dict.fromkeys(packages, '1'))
        monkeypatch.setattr(stack, '_version', versions.get)

    return install


def read_requirements(name):
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and line[0] not in '#-']


@STACKS
def test_stack_is_told_by_its_packages(install, named):
    install(*named.others)
    assert installed_stack() is named


@pytest.mark.parametrize(
    ('named', 'version'),
    [(OPENMMLAB, '2.0.0'), (OPENMMLAB, '2.1.0'), (ONEDL, '2.3.0'), (ONEDL, '2.3.6')],
)
def test_mmcv_of_the_installed_stack_is_accepted(install, monkeypatch, named, version):
    install(*named.others, named.mmcv)
    monkeypatch.setattr(mmcv, '__version__', version)
    check_stack()


@pytest.mark.parametrize(
    ('named', 'version'),
    [(OPENMMLAB, '1.7.2'), (OPENMMLAB, '2.3.6'), (ONEDL, '2.1.0'), (ONEDL, '2.4.0')],
)
def test_mmcv_of_the_other_stack_or_none_is_refused(install, monkeypatch, named, version):
    install(*named.others)
    monkeypatch.setattr(mmcv, '__version__', version)
    with pytest.raises(ImportError, match=f'found mmcv: {version}') as caught:
        check_stack()
    assert f'--no-cache-dir {named.mmcv}=={named.mmcv_tested}' in str(caught.value)


@pytest.mark.parametrize(
    ('named', 'version', 'fine'),
    [
        (OPENMMLAB, '4.51.3', True),
        (OPENMMLAB, '4.52.1', False),
        (ONEDL, '4.57.6', True),
        (ONEDL, '5.24.0', False),
    ],
)
def test_transformers_that_break_mmpretrain_are_refused(install, monkeypatch, named, version, fine):
    install(*named.others, transformers=version)
    monkeypatch.setattr(mmcv, '__version__', named.mmcv_tested)
    if fine:
        check_stack()
        return
    with pytest.raises(ImportError, match=f'transformers {version}.*"transformers<'):
        check_stack()


def test_packages_of_both_stacks_are_refused(install):
    install('mmengine', 'onedl-mmengine', 'onedl-mmcv')
    with pytest.raises(ImportError, match='pip uninstall -y mmengine onedl-mmengine onedl-mmcv'):
        installed_stack()


def test_missing_mmengine_names_both_extras():
    code = 'import sys; sys.modules["mmengine"] = None; import mmkd'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    last = done.stderr.splitlines()[-1]
    assert last.startswith('ImportError: mmkd needs MMEngine')
    assert 'mmkd[openmmlab]' in last
    assert 'mmkd[onedl]' in last


@STACKS
def test_requirements_are_the_packages_and_the_range_that_are_checked(named):
    (mmcv_line,) = read_requirements(f'{named.mmcv}.txt')
    assert mmcv_line.name == named.mmcv
    assert str(mmcv_line.specifier) == f'<{named.mmcv_maximum},>={named.mmcv_minimum}'
    assert named.mmcv_tested in mmcv_line.specifier
    assert {r.name for r in read_requirements(f'{named.extra}.txt')} == set(named.others)


def test_package_has_an_extra_for_each_stack_and_needs_neither(tmp_path):
    command = [sys.executable, 'setup.py', '-q', 'egg_info', '--egg-base', tmp_path]
    subprocess.run(command, cwd=ROOT, check=True)
    always, *extras = (tmp_path / 'mmkd.egg-info/requires.txt').read_text().split('\n[')
    requirements = {'': always, **dict(extra.split(']\n', 1) for extra in extras)}
    names = {
        section: {Requirement(line).name for line in text.splitlines() if line}
        for section, text in requirements.items()
    }
    for named in (OPENMMLAB, ONEDL):
        assert names[named.extra] == set(named.others)
        assert not names[''] & {*named.others, named.mmcv}


def test_mmcv_range_is_one_that_mmdet_and_mmpretrain_accept():
    # onedl-mmdetection names no range.
    libraries = [lib for lib in (mmdet, mmpretrain) if hasattr(lib, 'mmcv_minimum_version')]
    minima = [digit_version(lib.mmcv_minimum_version) for lib in libraries]
    maxima = [digit_version(lib.mmcv_maximum_version) for lib in libraries]
    assert digit_version(installed_stack().mmcv_minimum) >= max(minima)
    assert digit_version(installed_stack().mmcv_maximum) == min(maxima)


def test_list_of_types_that_onedl_mmengine_allows_is_emptied(monkeypatch):
    monkeypatch.setattr(checkpoint, 'get_torch_safe_globals', lambda: [getattr], raising=False)
    load_safely()
    assert checkpoint.get_torch_safe_globals() == []
