"""What ``mmkd`` says before it runs anything."""

import json
import subprocess
import sys

import pytest
from mmengine.config import Config

from mmkd import cli
from mmkd.cli import dist
from mmkd.cli.train import apply_training_options, parse_args


def test_help_lists_every_command(capsys):
    cli.main(['--help'])
    printed = capsys.readouterr().out
    assert all(name in printed and what in printed for name, what in cli.COMMANDS.items())


def test_an_unknown_command_is_named_beside_the_known_ones():
    with pytest.raises(SystemExit, match=r"no command 'trian'[\s\S]*train"):
        cli.main(['trian'])


def test_help_does_not_wait_for_what_only_training_needs():
    code = (
        'import sys, json; from mmkd import cli; cli.main([]); '
        'print(json.dumps(sorted(sys.modules)), file=sys.stderr)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stderr.splitlines()[-1]))
    assert 'mmkd.engine.hooks' in imported
    assert not imported & {'mmdet', 'mmpretrain.models', 'sklearn', 'matplotlib', 'scipy'}


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_every_command_has_a_main_and_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.run(name, ['--help'])
    assert stop.value.code in (0, None)
    assert 'usage: ' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('argv', 'said'),
    [
        ([], 'the following arguments are required'),
        (['train', 'config.py'], 'gpus'),
        (['train', 'config.py', 'many'], "invalid int value: 'many'"),
        (['train', 'config.py', '0'], 'GPUS must be 1 or more, found 0'),
        (['test', 'config.py', '2'], 'gpus'),
        (['train', 'config.py', '2', '--nope'], 'unrecognized arguments: --nope'),
    ],
)
def test_wrong_arguments_of_the_launcher_print_its_usage(argv, said, capsys):
    with pytest.raises(SystemExit) as stop:
        dist.parse_args(argv)
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert 'usage: ' in printed
    assert said in printed


def test_options_may_follow_the_number_of_processes():
    args, rest = dist.parse_args(['train', 'a.py', '4', '--cfg-options', 'b=1', 'c=2', '--resume'])
    assert args.gpus == 4
    expected = ['a.py', '--launcher', 'pytorch', '--cfg-options', 'b=1', 'c=2', '--resume']
    assert rest == expected


def test_one_machine_takes_a_free_port_and_several_agree_on_one(monkeypatch):
    for key in ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT'):
        monkeypatch.delenv(key, raising=False)
    assert dist.rendezvous() == ['--standalone']
    monkeypatch.setenv('NNODES', '2')
    with pytest.raises(SystemExit, match='NODE_RANK is not set'):
        dist.rendezvous()
    monkeypatch.setenv('NODE_RANK', '1')
    monkeypatch.setenv('MASTER_ADDR', 'host')
    assert dist.rendezvous() == [
        '--nnodes=2',
        '--node_rank=1',
        '--master_addr=host',
        '--master_port=29500',
    ]


def test_resume_from_the_latest_leaves_the_weights_of_a_fresh_start_alone():
    cfg = Config(dict(load_from='student.pth'))
    apply_training_options(cfg, parse_args(['config.py', '--resume']))
    assert (cfg.resume, cfg.load_from) == (True, 'student.pth')
    apply_training_options(cfg, parse_args(['config.py', '--resume', 'epoch_1.pth']))
    assert (cfg.resume, cfg.load_from) == (True, 'epoch_1.pth')
