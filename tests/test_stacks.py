"""The two stacks that mmkd runs on: OpenMMLab's packages and OneDL's forks (docs/stacks.md)."""

from pathlib import Path

import mmcv
import pytest
from mmengine.runner import checkpoint
from packaging.requirements import Requirement

import mmkd
from mmkd.engine.checkpoint import load_safely

REQUIREMENTS = Path(__file__).parents[1] / 'requirements'


@pytest.mark.parametrize('version', ['2.0.0', '2.1.0', '2.3.0', '2.3.6'])
def test_mmcv_of_either_stack_is_accepted(monkeypatch, version):
    monkeypatch.setattr(mmcv, '__version__', version)
    mmkd._check_mmcv()


@pytest.mark.parametrize('version', ['1.7.2', '2.2.0', '2.4.0'])
def test_mmcv_of_neither_stack_is_refused_with_both_ways_out(monkeypatch, version):
    monkeypatch.setattr(mmcv, '__version__', version)
    with pytest.raises(ImportError, match=f'found mmcv: {version}') as caught:
        mmkd._check_mmcv()
    assert '--no-cache-dir mmcv==2.1.0' in str(caught.value)
    assert 'onedl-mmcv==2.3.6' in str(caught.value)


def test_range_of_onedl_mmcv_is_that_of_its_requirements():
    lines = (REQUIREMENTS / 'onedl.txt').read_text().splitlines()
    (mmcv_line,) = (line for line in lines if line.startswith('onedl-mmcv'))
    specifier = Requirement(mmcv_line).specifier
    assert str(specifier) == f'<{mmkd.ONEDL_MMCV_MAXIMUM},>={mmkd.ONEDL_MMCV_MINIMUM}'


def test_list_of_types_that_onedl_mmengine_allows_is_emptied(monkeypatch):
    monkeypatch.setattr(checkpoint, 'get_torch_safe_globals', lambda: [getattr], raising=False)
    load_safely()
    assert checkpoint.get_torch_safe_globals() == []
