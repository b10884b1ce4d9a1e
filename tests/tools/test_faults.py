"""What docs/faults.md promises, through the tools as a user runs them."""

import pytest
import torch

from mmkd import cli
from mmkd.engine.lock import sole_training

CONFIG = 'configs/demo/digits_student.py'


def test_a_second_training_in_a_work_dir_is_refused_before_it_writes_there(tool, tmp_path):
    with sole_training(tmp_path):
        before = list(tmp_path.iterdir())
        said = tool('train.py', CONFIG, '--work-dir', tmp_path, ok=False)
        assert list(tmp_path.iterdir()) == before
    assert 'trains there; wait for it or stop it' in said.splitlines()[-1]
    assert 'Traceback' not in said


@pytest.mark.full
def test_of_several_processes_one_says_so(tool, tmp_path):
    with sole_training(tmp_path):
        said = tool('dist_train.sh', CONFIG, 2, '--work-dir', tmp_path, ok=False)
    assert said.count('trains there; wait for it or stop it') == 1
    assert 'Traceback' not in said


@pytest.mark.full
def test_a_run_of_two_processes_is_not_resumed_by_one(tool, tmp_path):
    common = [
        CONFIG,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_dataloader.dataset.indices=64',
    ]
    once, twice = 'train_cfg.max_epochs=1', 'train_cfg.max_epochs=2'
    tool('dist_train.sh', CONFIG, 2, *common[1:], once)
    said = tool('train.py', *common, twice, '--resume', ok=False)
    assert 'trained with 2 x 64 images a step' in said.splitlines()[-1]
    assert 'Traceback' not in said
    double = 'train_dataloader.batch_size=128'
    said = tool('train.py', *common, twice, double, '--resume')
    assert 'as many, but not the same to the last bit' in said


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (None, 'there is no file'),
        (b'no checkpoint', 'is not a checkpoint: found a text file'),
        (dict(state_dict={}), 'found weights alone, expected a checkpoint of training'),
    ],
)
def test_resume_from_what_cannot_be_resumed_is_a_sentence(
    repo, tmp_path, monkeypatch, capsys, content, words
):
    monkeypatch.chdir(repo)
    file = tmp_path / 'file.pth'
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    work_dir = tmp_path / 'run'
    with pytest.raises(SystemExit) as stop:
        cli.run('train', [CONFIG, '--work-dir', str(work_dir), '--resume', str(file)])
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith('mmkd train: --resume: ')
    assert words in said
    assert said.count('\n') == 1
    assert [path.name for path in work_dir.iterdir()] == ['.mmkd.lock']


@pytest.mark.parametrize(
    'options',
    [
        ['--kills', '2', '--scenarios', 'kd'],
        pytest.param(['--kills', '20', '--minutes', '15'], marks=pytest.mark.full),
    ],
)
def test_killed_runs_lose_nothing_and_end_as_if_they_had_not_been(tool, options):
    assert f'{options[1]} kills in ' in tool('dev/kill_campaign.py', *options)
