"""What is amended in MMEngine's Config."""

import copy
import pickle

import mmengine.config.config
import pytest
import torch
import yapf.yapflib.yapf_api
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, inputs, mode):
        return dict(loss=self.weight.sum())


@pytest.fixture
def layouts(monkeypatch):
    """The texts that yapf was given."""
    texts = []

    def lay_out(text, **settings):
        texts.append(text)
        return text, False

    # OpenMMLab's MMEngine imports it at the top, OneDL's where it is called.
    monkeypatch.setattr(mmengine.config.config, 'FormatCode', lay_out, raising=False)
    monkeypatch.setattr(yapf.yapflib.yapf_api, 'FormatCode', lay_out)
    return texts


def test_config_is_laid_out_once_for_all_checkpoints(layouts, tmp_path):
    Runner(
        Toy(),
        str(tmp_path),
        train_dataloader=dict(batch_size=1, dataset=[0.0], sampler=dict(type='DefaultSampler')),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        experiment_name='once',
        log_level='ERROR',
        cfg=dict(lr=0.1),
    ).train()
    assert len(layouts) == 1
    assert all(torch.load(tmp_path / f'epoch_{n}.pth')['meta']['cfg'] == layouts[0] for n in (1, 3))


@pytest.mark.parametrize('change', ['top', 'nested', 'removed', 'list'])
def test_changed_config_is_laid_out_anew(change, layouts):
    config = Config(dict(lr=0.1, model=dict(depth=8), steps=[dict(by=1)]))
    assert config.pretty_text == config.pretty_text
    assert len(layouts) == 1
    if change == 'top':
        config.lr = 0.2
    elif change == 'nested':
        config.model.depth = 20
    elif change == 'removed':
        del config.model['depth']
    else:
        config.steps[0].by = 2
    assert config.pretty_text == Config(config.to_dict()).pretty_text
    assert len(layouts) == 3


def test_layout_is_no_entry_of_the_config(layouts):
    config = Config(dict(lr=0.1))
    text = config.pretty_text
    for other in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert list(other) == ['lr']
        assert other.pretty_text == text
