"""The same student from two processes, from two hosts, and sharded; through the tools."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(torch.cuda.is_available(), reason='two processes need two GPUs there'),
]

CONFIG = 'configs/demo/digits_kd.py'
SHARDED = ['runner_type=FlexibleRunner', 'strategy.type=FSDPStrategy']
UNITS = [
    'strategy.model_wrapper.auto_wrap_policy.type='
    'torch.distributed.fsdp.wrap.size_based_auto_wrap_policy',
    'strategy.model_wrapper.auto_wrap_policy.min_num_params=500',
]


@pytest.fixture(scope='module')
def options(untrained_teacher):
    return [
        '--cfg-options',
        f'model.teacher.checkpoint={untrained_teacher("configs/demo/digits_teacher.py")}',
        'train_dataloader.dataset.indices=256',
        'val_dataloader.dataset.indices=64',
        'test_dataloader.dataset.indices=64',
        'train_dataloader.batch_size=32',
        'train_cfg.max_epochs=2',
        'default_hooks.checkpoint.max_keep_ckpts=-1',
    ]


@pytest.fixture(scope='module')
def two_processes(tool, options, tmp_path_factory):
    """Weights that two processes of one host train."""
    folder = tmp_path_factory.mktemp('two')
    tool('dist_train.sh', CONFIG, 2, '--work-dir', folder, *options)
    return torch.load(folder / 'epoch_2.pth')['state_dict']


@pytest.fixture
def hosts():
    """What to put before a command, and its environment, on each of two hosts.

    They are two network namespaces and a cable between them, or, where these may not be made, this
    host twice.
    """
    names = [f'mmkd{os.getpid()}{letter}' for letter in 'ab']

    def ip(*args):
        return subprocess.run(['ip', *args], capture_output=True).returncode == 0

    if shutil.which('ip') and os.getuid() == 0 and all(ip('netns', 'add', n) for n in names):
        cable = ['netns', names[0], 'type', 'veth', 'peer', 'name', 'cable', 'netns', names[1]]
        assert ip('link', 'add', 'cable', *cable)
        for index, name in enumerate(names):
            assert ip('-n', name, 'addr', 'add', f'10.9.0.{index + 1}/24', 'dev', 'cable')
            assert all(ip('-n', name, 'link', 'set', dev, 'up') for dev in ('cable', 'lo'))
        env = dict(MASTER_ADDR='10.9.0.1', GLOO_SOCKET_IFNAME='cable')
        yield [(['ip', 'netns', 'exec', name], env) for name in names]
        assert all(ip('netns', 'del', name) for name in names)
    else:
        yield [([], dict(MASTER_ADDR='127.0.0.1'))] * 2


def train_on(hosts, folders, options, repo, port):
    """Train in a process on each host; what each printed, and its exit code."""
    started = []
    for rank, ((before, env), folder, own) in enumerate(zip(hosts, folders, options, strict=True)):
        env = dict(os.environ, **env, NNODES='2', NODE_RANK=str(rank), PORT=str(port))
        env.update(OMP_NUM_THREADS='1', PYTHON=sys.executable)
        command = [*before, 'tools/dist_train.sh', CONFIG, '1', '--work-dir', str(folder), *own]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(subprocess.Popen(command, cwd=repo, env=env, **pipes))
    printed = [process.communicate(timeout=600)[0] for process in started]
    return printed, [process.returncode for process in started]


def test_two_hosts_train_what_two_processes_do(
    two_processes, hosts, options, repo, tmp_path, free_port
):
    """Without a folder that both see."""
    folders = [tmp_path / 'a', tmp_path / 'b']
    printed, codes = train_on(hosts, folders, [options] * 2, repo, free_port)
    assert codes == [0, 0], printed
    weights = torch.load(folders[0] / 'epoch_2.pth')['state_dict']
    assert all(torch.equal(weights[name], value) for name, value in two_processes.items())
    assert (folders[0] / 'student.pth').exists()
    assert not list(folders[1].glob('*.pth'))


def test_a_host_that_lacks_a_file_says_so_and_the_other_names_its_loss(
    hosts, options, repo, tmp_path, free_port
):
    missing = [option.replace('teacher.pth', 'none.pth') for option in options]
    folders = [tmp_path / 'a', tmp_path / 'b']
    printed, codes = train_on(hosts, folders, [options, missing], repo, free_port)
    assert all(codes)
    assert 'model.teacher.checkpoint: there is no file' in printed[1].splitlines()[-1]
    assert 'another process of this run has ended' in printed[0].splitlines()[-1]
    assert not any('Traceback' in text for text in printed)


@pytest.mark.parametrize('units', [[], UNITS], ids=['whole', 'units'])
def test_shards_train_what_copies_do_and_resume(
    tool, two_processes, options, units, tmp_path, metrics
):
    folder = tmp_path / 'run'
    common = [CONFIG, 2, '--work-dir']
    tool('dist_train.sh', *common, folder, *options, *SHARDED, *units)
    last = torch.load(folder / 'epoch_2.pth')['state_dict']
    assert last.keys() == two_processes.keys()
    for name, value in two_processes.items():
        assert torch.allclose(last[name], value, rtol=1e-4, atol=1e-5), name
    resumed = tmp_path / 'resumed'
    resumed.mkdir()
    shutil.copy(folder / 'epoch_1.pth', resumed)
    tool('dist_train.sh', *common, resumed, '--resume', *options, *SHARDED, *units)
    again = torch.load(resumed / 'epoch_2.pth')
    assert again['meta']['iter'] == 8
    assert all(torch.equal(again['state_dict'][name], value) for name, value in last.items())
    arguments = [folder / 'student.pth', '--work-dir', tmp_path / 'test', *options, *SHARDED]
    tool('test.py', CONFIG, *arguments)
    assert 'accuracy/top1' in metrics(tmp_path / 'test')
