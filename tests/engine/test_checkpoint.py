"""``weights_only`` stays on, and MMEngine's own checkpoints still load."""

import pickle

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
    'content',
    [
        Call(print, 'executed'),
        Call(getattr, HistoryBuffer, '__init__'),
        Call(getattr, torch.Tensor, 'numpy'),
    ],
)
def test_anything_that_could_run_code_is_refused_with_the_way_out(tmp_path, content, capsys):
    with pytest.raises(pickle.UnpicklingError, match='add_safe_globals.*custom_imports'):
        load(tmp_path, dict(state_dict={}, extra=content))
    assert 'executed' not in capsys.readouterr().out


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
