"""``mmkd benchmark``: killed in the middle, it goes on where it was."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

MATRIX = """
title = 'Tiny'
metrics = [dict(key='accuracy/top1', label='top-1 (%)')]
seeds = [0, 1]
options = {'train_cfg.max_epochs': 2, 'param_scheduler.1.end': 30}
teachers = dict(
    big=dict(
        label='Teacher',
        config='mmkd::demo/digits_teacher.py',
        options={'train_cfg.max_epochs': 2},
    )
)
rows = dict(
    alone=dict(label='Alone', config='mmkd::demo/digits_student.py'),
    kd=dict(label='KD', config='mmkd::demo/digits_kd.py', teacher='big', control='alone'),
)
"""

# In place of `mmkd train` and `mmkd test`. Seed 1 of `kd` stays in its second epoch, once.
FAKE = """
import json, sys, time
from pathlib import Path
argv = sys.argv[1:]
folder = Path(argv[argv.index('--work-dir') + 1])
with open('commands.txt', 'a') as file:
    print(*argv, file=file)
if argv[0] == 'test':
    assert Path(argv[2]).read_text() == 'epoch 2'
    out = folder / '20260101_000000'
    out.mkdir(parents=True)
    seed = int(argv[argv.index('--cfg-options') + 1].removeprefix('randomness.seed='))
    top1 = 50 + seed + 10 * ('digits_kd' in argv[1])
    (out / f'{out.name}.json').write_text(json.dumps({'accuracy/top1': top1}))
    raise SystemExit
folder.mkdir(parents=True, exist_ok=True)
latest = folder / 'last_checkpoint'
assert latest.exists() <= ('--resume' in argv)
if 'digits_kd' in argv[1]:
    assert Path(argv[-1].partition('=')[2]).read_text() == 'epoch 2'
for epoch in range(2 if latest.exists() else 1, 3):
    if epoch == 2 and folder.name == 'kd_seed1' and '--resume' not in argv:
        Path('hanging').touch()
        time.sleep(600)
    path = folder / f'epoch_{epoch}.pth'
    path.write_text(f'epoch {epoch}')
    latest.write_text(str(path))
    print(f'Saving checkpoint at {epoch} epochs', flush=True)
if folder.name == 'big' and Path('broken').exists():
    sys.exit('there is a hole in it')
"""

DRIVER = """
import sys
from mmkd import cli
from mmkd.benchmark import process
process.COMMAND = (sys.executable, 'fake.py')
cli.main(['benchmark', *sys.argv[1:]])
"""


@pytest.fixture
def benchmark(tmp_path, repo):
    """Start it on commands that only pretend; ``finish`` waits for what it prints."""
    for name, text in (('m.py', MATRIX), ('fake.py', FAKE), ('driver.py', DRIVER)):
        (tmp_path / name).write_text(text)

    def start(*args):
        return subprocess.Popen(
            [sys.executable, 'driver.py', 'm.py', '--work-dir', 'runs', *args],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(repo), 'CUDA_VISIBLE_DEVICES': ''},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


def test_a_killed_benchmark_skips_what_is_done_and_resumes_what_is_not(benchmark, tmp_path):
    first = benchmark('--jobs', '2')
    deadline = time.monotonic() + 120
    page = tmp_path / 'runs/m.md'  # written after the JSON file
    while not ((tmp_path / 'hanging').exists() and page.exists() and '4 of' in page.read_text()):
        assert first.poll() is None, first.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    # What there is is on the page, and says that it is not all.
    assert '4 of 5 runs are done' in page.read_text()
    assert '| KD | 1 of 2 | 60.0 | 60.0 | Alone | +10.0 |' in page.read_text()
    before = (tmp_path / 'commands.txt').read_text().splitlines()

    second = benchmark()
    printed, _ = second.communicate(timeout=120)
    assert second.returncode == 0, printed
    assert '4 of 5 runs are done' in printed
    train, test = (tmp_path / 'commands.txt').read_text().splitlines()[len(before) :]
    assert train.startswith('train mmkd::demo/digits_kd.py --resume --work-dir runs/kd_seed1 ')
    assert test.startswith('test mmkd::demo/digits_kd.py runs/kd_seed1/epoch_2.pth ')
    assert '5 of 5 runs are done' in page.read_text()
    assert '| KD | 2 | 60.5 ± 6.4 | 60.0, 61.0 | Alone | +10.0 ± 0.0 |' in page.read_text()
    done = {(run['row'], run['seed']): run for run in results(tmp_path)}
    assert len(done) == 5
    assert done['kd', 1]['train']['resumed']
    assert not done['kd', 0]['train']['resumed']
    for run in done.values():
        assert run['train']['memory'] > 1
        assert run['train']['seconds'] > 0
        assert run['train']['command'][:2] == ['mmkd', 'train']


def results(tmp_path):
    path = tmp_path / 'runs/m.json'
    return json.loads(path.read_text())['runs'] if path.exists() else []


@pytest.fixture
def command(tmp_path, monkeypatch):
    """``main`` of the same in this process, where nothing hangs."""
    from mmkd.benchmark import process
    from mmkd.cli import benchmark

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, 'COMMAND', (sys.executable, 'fake.py'))
    monkeypatch.setattr(process, 'gpus', list)
    monkeypatch.setattr(signal, 'signal', lambda *args: None)
    (tmp_path / 'm.py').write_text(MATRIX)
    (tmp_path / 'fake.py').write_text(FAKE.replace('time.sleep(600)', 'pass'))
    return benchmark.main


@pytest.fixture
def in_process(command):
    return lambda *args: command(['m.py', '--work-dir', 'runs', *args])


def test_a_dry_run_lists_everything_and_runs_nothing(in_process, tmp_path, capsys):
    in_process('--dry-run')
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(line.startswith('to do, time unknown: mmkd train mmkd::demo/') for line in lines[:5])
    assert lines[5].startswith('5 of 5 runs to do; time unknown of 5')
    assert not (tmp_path / 'runs').exists()

    in_process('--only', 'kd')
    assert [(run['row'], run['seed']) for run in results(tmp_path)] == [
        ('big', 0),
        ('kd', 0),
        ('kd', 1),
    ]
    # A run of `alone` before this one's end tells how long the other takes.
    matrix = (tmp_path / 'm.py').read_text()
    (tmp_path / 'm.py').write_text(matrix.replace('seeds = [0, 1]', 'seeds = [0, 1, 2]'))
    capsys.readouterr()
    in_process('--dry-run', '--jobs', '1')
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith('done: ') for line in lines) == 3
    assert any(line.startswith('to do, 0.0 min: mmkd train mmkd::demo/digits_kd') for line in lines)
    assert '4 of 7 runs to do, 0.0 min one after the other' in lines[-1]
    assert 'time unknown of 3' in lines[-1]


def test_a_failure_stops_only_those_that_need_it_and_is_tried_again(in_process, tmp_path):
    (tmp_path / 'broken').touch()
    with pytest.raises(SystemExit, match=r'3 runs failed.*there is a hole in it; all of its log: '):
        in_process()
    assert [run['row'] for run in results(tmp_path)] == ['alone', 'alone']
    (tmp_path / 'broken').unlink()
    in_process()
    assert len(results(tmp_path)) == 5


def test_render_takes_texts_of_the_matrix_and_a_changed_run_is_refused(in_process, tmp_path):
    with pytest.raises(FileNotFoundError, match='--render: there is no runs/m.json'):
        in_process('--render')
    in_process('--only', 'alone')
    matrix = (tmp_path / 'm.py').read_text()
    (tmp_path / 'm.py').write_text(matrix.replace("'Tiny'", "'Small'"))
    in_process('--render')
    assert (tmp_path / 'runs/m.md').read_text().startswith('# Small\n')
    (tmp_path / 'm.py').write_text(matrix.replace("end': 30", "end': 31"))
    with pytest.raises(ValueError, match=r'runs/alone_seed0/run\.json is of a run with options='):
        in_process()


def test_matrices_share_the_processes_and_have_a_page_each(command, tmp_path, capsys):
    other = MATRIX.replace("'Tiny'", "'Other'").replace('[0, 1]', '[2]')
    (tmp_path / 'other.py').write_text(other)
    command(['m.py', 'other.py', '--jobs', '2', '--out', 'pages', '--dry-run'])
    assert '8 of 8 runs to do' in capsys.readouterr().out
    # Rows of the same names are not mixed up.
    command(['other.py', '--out', 'pages', '--only', 'alone'])
    command(['m.py', 'other.py', '--jobs', '2', '--out', 'pages'])
    printed = capsys.readouterr().out
    assert '1 of 8 runs are done' in printed
    assert all(f'pages/{name}.md' in printed for name in ('m', 'other'))
    for name, title, seeds in (('m', 'Tiny', [0, 1]), ('other', 'Other', [2])):
        page = (tmp_path / f'pages/{name}.md').read_text()
        assert page.startswith(f'# {title}\n')
        assert f'mmkd benchmark {name}.py --out pages\n' in page
        runs = json.loads((tmp_path / f'pages/{name}.json').read_text())['runs']
        assert [run['seed'] for run in runs if run['row'] == 'kd'] == seeds
        assert (tmp_path / f'work_dirs/benchmark/{name}/big/epoch_2.pth').exists()
    with pytest.raises(SystemExit):
        command(['m.py', 'other.py', '--only', 'kd'])
    assert '--work-dir and --only are of one MATRIX' in capsys.readouterr().err
    with pytest.raises(ValueError, match=r'are named m, m; give matrix files of different names'):
        command(['m.py', './m.py'])


def test_results_of_another_work_directory_stay_until_they_are_had_here(command, tmp_path):
    command(['m.py', '--work-dir', 'there', '--out', 'pages'])
    path = tmp_path / 'pages/m.json'
    there = json.loads(path.read_text())
    there['environments'] = [{**there['environments'][0], 'hardware': ['there']}]
    path.write_text(json.dumps(there))

    def hardware():
        found = json.loads(path.read_text())
        where = [environment['hardware'] == ['there'] for environment in found['environments']]
        return {(run['row'], run['seed']): where[run['environment']] for run in found['runs']}

    command(['m.py', '--work-dir', 'here', '--out', 'pages', '--only', 'alone'])
    done = hardware()
    assert {row for row, elsewhere in done.items() if not elsewhere} == {('alone', 0), ('alone', 1)}
    assert len(done) == 5
    # Its students are those of another teacher now.
    command(['m.py', '--work-dir', 'here', '--out', 'pages', '--only', 'big'])
    assert hardware() == {('alone', 0): False, ('alone', 1): False, ('big', 0): False}
    # What the matrix no longer says is not kept either.
    path.write_text(json.dumps(there))
    matrix = (tmp_path / 'm.py').read_text()
    (tmp_path / 'm.py').write_text(matrix.replace("end': 30", "end': 31"))
    command(['m.py', '--work-dir', 'new', '--out', 'pages', '--only', 'alone'])
    assert hardware() == {('alone', 0): False, ('alone', 1): False, ('big', 0): True}


@pytest.mark.full
def test_digits_through_the_tool(tool, tmp_path):
    (tmp_path / 'm.py').write_text(MATRIX)
    tool('benchmark.py', tmp_path / 'm.py', '--work-dir', tmp_path / 'runs', '--only', 'kd')
    runs = results(tmp_path)
    assert len(runs) == 3
    assert all(0 <= run['metrics']['accuracy/top1'] <= 100 for run in runs)
    assert all(run['environment'] == 0 for run in runs)
