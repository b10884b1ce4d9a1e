"""``weights_only`` stays on, and MMEngine's own checkpoints still load."""

import argparse
import io
import os
import pickle
import re
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner.checkpoint import CheckpointLoader

import mmkd  # noqa: F401


class Call:
    """Unpickles as ``function(*args)``."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def load(tmp_path, content):
    torch.save(content, tmp_path / 'file.pth')
    return CheckpointLoader.load_checkpoint(str(tmp_path / 'file.pth'), 'cpu', logger='silent')


def test_mmengines_message_hub_loads(tmp_path):
    hub = MessageHub.get_instance('test_checkpoint')
    for i in range(3):
        hub.update_scalar('train/loss', torch.tensor(float(i)))
        hub.update_scalar('train/acc', np.float32(i))
        hub.update_info('iter', np.int64(i))
    state = load(tmp_path, dict(message_hub=hub.state_dict()))['message_hub']
    assert isinstance(state['log_scalars']['train/loss'], HistoryBuffer)
    assert state['log_scalars']['train/loss'].mean() == 1
    assert state['runtime_info']['iter'] == 2


@pytest.mark.parametrize(
    ('content', 'named'),
    [
        (Call(print, 'executed'), 'print'),
        (Call(os.system, 'echo executed'), 'posix.system'),
        (Call(getattr, HistoryBuffer, '__init__'), 'getattr'),
        (Call(getattr, torch.Tensor, 'numpy'), 'getattr'),
    ],
)
def test_a_call_is_refused_without_a_way_out(tmp_path, content, named, capfd):
    with pytest.raises(pickle.UnpicklingError, match=f'file.pth holds a call of {named}') as error:
        load(tmp_path, dict(state_dict={}, extra=content))
    assert 'WEIGHTS_ONLY' not in str(error.value)
    assert 'executed' not in capfd.readouterr().out


@pytest.mark.parametrize(
    ('content', 'named'),
    [
        (argparse.Namespace(lr=1), 'argparse.Namespace'),
        (np.array(['a', None], dtype=object), 'numpy.dtypes.ObjectDType'),
    ],
)
def test_a_type_that_may_be_the_users_is_refused_with_the_way_out(tmp_path, content, named):
    with pytest.raises(pickle.UnpicklingError, match=f'{named}.*add_safe_globals.*custom_imports'):
        load(tmp_path, dict(state_dict={}, extra=content))


def saved(content, **kwargs):
    file = io.BytesIO()
    torch.save(content, file, **kwargs)
    return file.getvalue()


def archive(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as written:
        for name, content in files.items():
            written.writestr(name, content)
    return file.getvalue()


def tape():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as written:
        written.addfile(tarfile.TarInfo('storages'))
    return file.getvalue()


def script():
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Identity()), file)
    return file.getvalue()


def array():
    file = io.BytesIO()
    np.save(file, np.array(['a', None], dtype=object))
    return file.getvalue()


ATTACK = Call(os.system, 'echo executed')
OLD = dict(_use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        (b'', 'an empty file'),
        (b'model = dict()', 'a text file'),
        (b'<!DOCTYPE html><html>404</html>', 'a web page'),
        (b'\n<html>404</html>', 'a web page'),
        (b'version https://git-lfs.github.com/spec/v1', 'a pointer of Git LFS'),
        (pickle.dumps([1]), 'a pickle that torch.save did not write'),
        (pickle.dumps(ATTACK), 'a pickle that torch.save did not write'),
        (pickle.dumps(ATTACK, 2), 'a pickle that torch.save did not write'),
        (pickle.dumps(ATTACK, 0), 'a text file'),
        (saved({'a': torch.ones(99)})[:-99], 'a zip archive, .* cut off'),
        (archive(**{'a/b.txt': b''}), 'a zip archive of other files'),
        (archive(**{'a.npy': array()}), 'a numpy archive'),
        (array(), 'a numpy array'),
        (tape(), 'a tar archive'),
        (script(), 'a TorchScript archive'),
        (b'\x10' + bytes(7) + b'{"a": {}}', 'a safetensors file'),
        (b'\x89HDF\r\n', 'an HDF5 file'),
        (bytes(range(256)), '256 bytes of no format known here'),
    ],
)
def test_a_file_that_is_no_checkpoint_is_named_and_no_safety_is_talked_off(
    tmp_path, content, found, capfd
):
    (tmp_path / 'file.pth').write_bytes(content)
    with pytest.raises(ValueError, match=f'file.pth is not a checkpoint: found {found}') as error:
        CheckpointLoader.load_checkpoint(str(tmp_path / 'file.pth'), 'cpu', logger='silent')
    assert not re.search('weights_only|safe_globals|trust', str(error.value), re.IGNORECASE)
    assert str(error.value).count('. ') == 0
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize(
    'content',
    [
        saved({'a': torch.ones(99)}, **OLD)[:-99],
        saved({'a': torch.ones(99)}, **OLD)[:20],
        archive(**{'a/data.pkl': b'nonsense'}),
        archive(**{'a/data.pkl': b'\x80\x02\xff'}),
    ],
)
def test_a_damaged_checkpoint_is_called_so(tmp_path, content, capfd):
    (tmp_path / 'file.pth').write_bytes(content)
    with pytest.raises(
        ValueError, match='file.pth was written by torch.save and does not'
    ) as error:
        CheckpointLoader.load_checkpoint(str(tmp_path / 'file.pth'), 'cpu', logger='silent')
    assert not re.search('weights_only|safe_globals|trust', str(error.value), re.IGNORECASE)
    assert capfd.readouterr() == ('', '')


def test_no_room_in_memory_is_no_fault_of_the_file(tmp_path, monkeypatch):
    def load(*args, **kwargs):
        raise torch.OutOfMemoryError('no room')

    torch.save({}, tmp_path / 'file.pth')
    monkeypatch.setattr(torch, 'load', load)
    with pytest.raises(torch.OutOfMemoryError, match='no room'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'file.pth'), 'cpu', logger='silent')


@pytest.mark.parametrize(
    ('name', 'error', 'words'),
    [
        ('folder', ValueError, 'found a folder'),
        ('config.py', ValueError, 'found a Python file'),
        ('nothing.pth', FileNotFoundError, 'there is no file'),
    ],
)
def test_a_path_that_is_no_checkpoint(tmp_path, name, error, words):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'config.py').write_text('model = dict()')
    with pytest.raises(error, match=words):
        CheckpointLoader.load_checkpoint(str(tmp_path / name), 'cpu', logger='silent')


@pytest.mark.parametrize('content', [[1], torch.ones(1), dict(state_dict=[1])])
def test_a_checkpoint_holds_a_dict_of_weights(tmp_path, content):
    with pytest.raises(TypeError, match='file.pth holds a (list|Tensor) where .* a dict of'):
        load(tmp_path, content)


def test_a_loader_that_asks_for_the_unsafe_mode_does_not_get_it(tmp_path):
    from mmkd.engine.checkpoint import _safely

    torch.save(Call(print, 'executed'), tmp_path / 'file.pth')
    unsafe = _safely(lambda name: torch.load(name, weights_only=False))
    with pytest.raises(pickle.UnpicklingError, match='print'):
        unsafe(str(tmp_path / 'file.pth'))


def test_the_user_can_allow_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    assert load(tmp_path, dict(extra=Call(int, '7')))['extra'] == 7


def test_every_scheme_of_mmengine_is_safe():
    assert all(hasattr(loader, 'is_safe') for loader in CheckpointLoader._schemes.values())
