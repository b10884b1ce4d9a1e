"""Mixed precision on a CPU."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmkd.cli.train import use_mixed_precision
from mmkd.engine import BFloat16OptimWrapper


def test_forward_is_in_bfloat16_and_weights_and_update_in_float32():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    cfg = dict(type='mmkd.BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=1.0))
    optim = build_optim_wrapper(model, cfg)
    before = model.weight.detach().clone()
    with optim.optim_context(model):
        output = model(torch.ones(1, 3))
    assert output.dtype == torch.bfloat16
    optim.update_params(output.float().sum())
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, before - 1)
    assert not torch.is_autocast_enabled('cpu')


@pytest.mark.skipif(torch.cuda.is_available(), reason='a GPU takes MMEngine’s wrapper')
def test_amp_without_a_gpu_takes_it_in_place_of_what_the_config_has():
    optim = ConfigDict(type='AmpOptimWrapper', loss_scale=512.0, optimizer=dict(type='SGD', lr=1))
    use_mixed_precision(optim)
    assert isinstance(build_optim_wrapper(nn.Linear(1, 1), optim), BFloat16OptimWrapper)
    with pytest.raises(SystemExit, match=r"optim_wrapper.dtype='float16'; set it to bfloat16"):
        use_mixed_precision(ConfigDict(type='AmpOptimWrapper', dtype='float16'))
