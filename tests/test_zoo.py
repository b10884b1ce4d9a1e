"""Metafiles: complete, of configs that exist, with results that the pages have."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from mmengine.hub import get_config

ROOT = Path(__file__).parents[1]
INDEX = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
FILES = {name: yaml.safe_load((ROOT / name).read_text()) for name in INDEX}
MODELS = [model for file in FILES.values() for model in file['Models']]


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


METAFILES = module(ROOT / 'tools/dev/metafiles.py')


def test_every_config_is_in_the_metafile_of_its_folder():
    for folder, paths in METAFILES.config_files().items():
        file = FILES[str((folder / 'metafile.yml').relative_to(ROOT))]
        wanted = {str(path.relative_to(ROOT)) for path in paths}
        found = {model['Config'] for model in file['Models']}
        assert found == wanted, f'{found ^ wanted}: run tools/dev/metafiles.py'
    assert len({model['Name'] for model in MODELS}) == len(MODELS)


def test_a_model_is_of_its_collection_and_has_weights_only_where_there_is_a_file():
    for file in FILES.values():
        (collection,) = file['Collections']
        assert {model['In Collection'] for model in file['Models']} == {collection['Name']}
    assert not [model['Name'] for model in MODELS if 'Weights' in model]


def test_measured_results_stand_in_the_row_of_the_page_that_they_name():
    measured = [result for model in MODELS for result in model.get('Results', [])]
    assert measured
    for result in measured:
        lines = (ROOT / result['Source']).read_text().splitlines()
        rows = [line for line in lines if line.startswith(f'| {result["Row"]} |')]
        rows = [set(re.findall(r'\d+\.\d+', line)) for line in rows]
        values = {f'{value:.1f}' for value in result['Metrics'].values()}
        assert any(values <= row for row in rows), result


def test_published_results_name_their_paper():
    published = [result for model in MODELS for result in model.get('Published', [])]
    assert published
    assert all(re.match(r'(BEED|DCM|ECD), ', result['Source']) for result in published)


def test_the_page_has_every_config():
    page = module(ROOT / 'docs/zoo.py').page(ROOT)
    for model in MODELS:
        assert f'`{model["Config"].removeprefix("configs/")}`' in page


def test_a_config_without_weights_is_found_by_name():
    assert get_config('mmkd::demo/digits_kd.py').model.type == 'mmkd.OfflineDistiller'
    with pytest.raises(AssertionError, match='Weights'):
        get_config('mmkd::demo/digits_kd.py', pretrained=True)


@pytest.mark.full
def test_settings_in_the_metafiles_are_those_of_the_configs():
    assert not list(METAFILES.outdated()), 'run tools/dev/metafiles.py'
