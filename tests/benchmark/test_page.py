"""The page says what the JSON file holds."""

import json
import re
from pathlib import Path

import pytest

from mmkd.benchmark import step_page
from mmkd.benchmark.matrix import Matrix, Metric, Row
from mmkd.benchmark.page import render

RESULTS = Path(__file__).parents[2] / 'docs/results'


#: JSON files of matrices; test_step.py holds the page of steps.
MATRICES = sorted(path for path in RESULTS.glob('*.json') if path.stem != step_page.NAME)


@pytest.mark.parametrize('path', MATRICES, ids=lambda path: path.stem)
def test_a_page_of_the_tree_is_that_of_its_json_and_its_matrix(path):
    from mmkd.benchmark.matrix import read_matrix

    matrix = read_matrix(f'mmkd::benchmark/{path.stem}.py')
    assert path.with_suffix('.md').read_text() == render(matrix, json.loads(path.read_text()))


def test_no_page_of_results_is_written_by_hand():
    pages = sorted(RESULTS.glob('*.md'))
    assert pages
    assert [p.stem for p in pages] == [p.stem for p in sorted(RESULTS.glob('*.json'))]
    for page in pages:
        assert '<!-- Written by mmkd benchmark' in page.read_text(), page


MATRIX = Matrix(
    name='m',
    source='mmkd::benchmark/m.py',
    title='Title',
    prose='Some prose.',
    notes='Some notes.',
    metrics=[Metric('mAP', 'mAP (%)', 100), Metric('exit', 'exit')],
    teachers=dict(big=Row('big', 'Big', 'big.py', is_teacher=True)),
    rows=dict(
        alone=Row('alone', 'Alone', 'small.py', seeds=[0, 1, 2]),
        kd=Row('kd', 'KD', 'kd.py', {'a': '1'}, [0, 1, 2], control='alone', teacher='big'),
    ),
)


def run(name, seed, resumed=False, **metrics):
    row = MATRIX.all_rows[name]
    return dict(
        row=name,
        seed=seed,
        config=row.config,
        options=dict(row.options),
        teacher=row.teacher,
        amp=False,
        environment=0,
        date=f'2026-01-0{seed + 1}',
        train=dict(
            command=['mmkd', 'train', f's {seed}'], resumed=resumed, seconds=90, memory=512.3
        ),
        metrics=metrics,
    )


@pytest.fixture
def results():
    environment = dict(versions=['mmkd 1'], hardware=['2 cores'], processes='2 runs at once')
    return dict(
        command='mmkd benchmark m.py',
        environments=[environment],
        runs=[
            run('big', 0, mAP=0.7),
            run('alone', 0, mAP=0.2, exit=1.0),
            run('alone', 1, mAP=0.4),
            run('kd', 0, mAP=0.31, exit=3.0),
            run('kd', 1, resumed=True, mAP=0.53),
            run('kd', 2, mAP=0.9),
        ],
    )


def cells(page, label):
    return [
        [cell.strip() for cell in line.split('|')[2:-1]]
        for line in page.splitlines()
        if line.startswith(f'| {label} |')
    ]


def test_rows_have_mean_interval_and_the_gain_of_each_seed_over_itself(results):
    page = render(MATRIX, results)
    # 12.706 is the quantile of one degree of freedom.
    (big,) = cells(page, 'Big')
    alone, alone_other = cells(page, 'Alone')
    kd, kd_other = cells(page, 'KD')
    assert big == ['1', '70.0', '70.0', '', '', '1.5', '512']
    assert alone == ['2 of 3', '30.0 ± 127.1', '20.0, 40.0', '', '', '1.5', '512']
    assert kd[0] == '3'
    assert kd[2] == '31.0, 53.0, 90.0'
    # Of the seeds that both have, 11 and 13.
    assert kd[3:5] == ['Alone', '+12.0 ± 12.7']
    assert alone_other == ['1.0']
    assert kd_other == ['3.0 (+2.0)']


def test_the_page_says_when_where_how_much_of_it_and_how(results):
    page = render(MATRIX, results)
    assert page.startswith('# Title\n')
    assert 'Measured 2026-01-01 to 2026-01-03. 6 of 7 runs are done.' in page
    assert '* 2 cores, 2 runs at once, mmkd 1\n' in page
    assert page.index('Some prose.') < page.index('| KD |') < page.index('Some notes.')
    assert "mmkd benchmark m.py\n# Big\nmmkd train 's 0'\n# Alone\nmmkd train 's 0'\n" in page


def test_machines_are_listed_once_for_all_commits_and_anew_for_other_versions(results):
    first = dict(versions=['mmkd 1 (a)', 'torch 2'], hardware=['2 cores'], processes='2 at once')
    results['environments'] = [
        first,
        {**first, 'versions': ['mmkd 1 (b-dirty)', 'torch 2']},
        {**first, 'versions': ['mmkd 1 (a)', 'torch 3']},
        {**first, 'hardware': ['4 cores']},
    ]
    assert [line for line in render(MATRIX, results).splitlines() if line.startswith('* ')] == [
        '* 2 cores, 2 at once, mmkd 1 (a, b-dirty), torch 2',
        '* 2 cores, 2 at once, mmkd 1 (a), torch 3',
        '* 4 cores, 2 at once, mmkd 1 (a), torch 2',
    ]


def test_a_row_without_runs_and_a_page_without_any_are_written(results):
    results.update(runs=[], environments=[])
    page = render(MATRIX, results)
    assert '0 of 7 runs are done.' in page
    assert cells(page, 'KD') == [['0 of 3', '', '', 'Alone', '', '', '']]


@pytest.mark.parametrize('change', [dict(options={'a': '2'}), dict(teacher=None), dict(row='old')])
def test_a_run_that_is_not_the_matrixs_is_refused(results, change):
    results['runs'][3].update(change)
    with pytest.raises(ValueError, match=re.escape('mmkd::benchmark/m.py has no row')):
        render(MATRIX, results)
