"""Metafiles: complete, of configs that exist, with the results of the pages."""

import functools
import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml
from mmengine.hub import get_config

from mmkd.benchmark.matrix import Row

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


def test_measured_results_are_those_of_the_json_files():
    stale = METAFILES.outdated(only_results=True)
    assert not stale, f'{[*map(str, stale)]}: run tools/dev/metafiles.py --results'


def test_a_result_that_was_edited_is_found(tmp_path, monkeypatch):
    folder = ROOT / 'configs/demo'
    text = (folder / 'metafile.yml').read_text()
    write = functools.partial(METAFILES.metafile, results=METAFILES.measured(), only_results=True)
    monkeypatch.setattr(METAFILES, 'ROOT', tmp_path)
    copy = tmp_path / 'configs/demo'
    copy.mkdir(parents=True)
    edited = re.sub(r'(box AP: )\d', r'\g<1>9', text)
    assert edited != text
    (copy / 'metafile.yml').write_text(edited)
    assert write(copy, [copy / path.name for path in sorted(folder.glob('*.py'))]) == text


def test_a_result_is_the_mean_over_seeds_in_the_row_of_the_page():
    (model,) = [m for m in MODELS if m['Config'] == 'configs/demo/scenes_pkd.py']
    (result,) = [r for r in model['Results'] if r['Source'] == 'docs/results/demo_scenes.md']
    runs = json.loads((ROOT / 'docs/results/demo_scenes.json').read_text())['runs']
    values = [run['metrics']['coco/bbox_mAP'] for run in runs if run['row'] == 'scenes_pkd']
    assert len(values) == result['Seeds'] == 8
    assert result['Metrics'] == {'box AP': pytest.approx(100 * sum(values) / 8, abs=0.051)}
    assert (result['Task'], result['Dataset']) == ('Object Detection', 'Digit scenes')
    line = f'| {result["Row"]} | 8 | {result["Metrics"]["box AP"]} ± '
    assert line in (ROOT / result['Source']).read_text()


def test_pages_may_be_missing_or_begun(tmp_path):
    assert METAFILES.measured(tmp_path) == {}
    page = json.loads((ROOT / 'docs/results/demo_digits.json').read_text())
    page['runs'] = [run for run in page['runs'] if run['row'] == 'digits_student'][:2]
    (tmp_path / 'demo_digits.json').write_text(json.dumps(page))
    ((config, (result,)),) = METAFILES.measured(tmp_path).items()
    assert (config, result['Seeds']) == ('configs/demo/digits_student.py', 2)


@pytest.mark.parametrize(
    ('options', 'chosen'),
    [
        ([{'train_cfg.max_epochs': '2'}, {}], 0),
        ([{'model.objective.beta': '0'}, {'train_cfg.max_epochs': '2'}], 1),
        ([{'model.losses.kd.loss_weight': '1'}, {'model.losses.kd.warmup': '4'}], 0),
        # The control of a method, whose own row has options too.
        ([{'model.objective.type': 'CE'}, {'model.student.depth': '8'}], 1),
        ([{'model.objective.type': 'CE'}], None),
    ],
)
def test_the_row_of_a_config_is_the_one_nearest_to_it(options, chosen):
    rows = [Row(str(i), str(i), 'mmkd::a/b.py', option) for i, option in enumerate(options)]
    wanted = {} if chosen is None else {'configs/a/b.py': rows[chosen]}
    assert METAFILES.rows_of_configs(rows) == wanted


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
