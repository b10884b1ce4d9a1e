"""The last checkpoint survives a crash at any file operation, and names no file but its own."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, METRICS, MODELS, DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from mmkd.engine import CheckpointHook
from mmkd.engine.resume import prepare_resume

EPOCHS = 3


@MODELS.register_module(force=True)
class Toy(BaseModel):
    def __init__(self, width=1):
        super().__init__()
        self.layer = torch.nn.Linear(2, width)

    def forward(self, inputs, mode='tensor'):
        loss = self.layer(torch.stack(inputs)).square().mean()
        return dict(loss=loss) if mode == 'loss' else [loss]


@METRICS.register_module(force=True)
class Loss(BaseMetric):
    """What falls from epoch to epoch, so that each is the best."""

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return dict(loss=sum(x.item() for x in results))


def make(
    work_dir, resume=False, load_from=None, width=1, batch_size=2, epochs=EPOCHS, **checkpoint
):
    hook = dict(type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='loss', rule='less')
    data = [dict(inputs=torch.tensor([i, 1.0])) for i in range(4)]
    loader = dict(
        batch_size=batch_size, dataset=data, sampler=dict(type='DefaultSampler', shuffle=False)
    )
    return dict(
        work_dir=str(work_dir),
        model=dict(type='Toy', width=width),
        train_dataloader=loader,
        val_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        val_cfg={},
        val_evaluator=dict(type='Loss'),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        default_hooks=dict(checkpoint={**hook, **checkpoint}, logger=None),
        randomness=dict(seed=0),
        resume=resume,
        load_from=load_from,
        log_level='ERROR',
    )


def train(cfg):
    # As a new process would.
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()
    cfg = Config(cfg)
    said = prepare_resume(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return said


def left(work_dir):
    """Names of the files, and weights and optimizer in each."""
    files = sorted(path.name for path in Path(work_dir).iterdir() if path.suffix != '.py')
    files = [name for name in files if not name[0].isdigit()]
    return files, {
        name: {k: torch.load(Path(work_dir, name)).get(k) for k in ('state_dict', 'optimizer')}
        for name in files
        if name.endswith('.pth')
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without what takes most of the time: looking for compilers, and formatting the config."""
    monkeypatch.setattr(Runner, '_log_env', lambda self, env_cfg: None)
    monkeypatch.setattr(Config, 'pretty_text', '')


@pytest.fixture
def whole(tmp_path):
    train(make(tmp_path / 'whole'))
    return left(tmp_path / 'whole')


class Crash(BaseException):
    pass


def crash_at(monkeypatch, count):
    """Raise in place of the ``count``-th renaming or removal; return what says how many were."""
    seen = []

    def wrap(name):
        real = getattr(os, name)

        def run(*args, **kwargs):
            seen.append((name, Path(args[-1] if name == 'replace' else args[0]).name))
            if len(seen) == count:
                raise Crash
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, run)

    wrap('replace')
    wrap('remove')
    return seen


def test_it_stands_in_for_mmengines_hook_in_every_config():
    assert type(HOOKS.build(dict(type='CheckpointHook'))) is CheckpointHook
    assert issubclass(CheckpointHook, MMEngineCheckpointHook)


def test_new_file_then_pointer_then_removal(tmp_path, monkeypatch):
    seen = crash_at(monkeypatch, None)
    train(make(tmp_path))
    # Of the second epoch: before its validation, and with the best that this finds.
    start = seen.index(('replace', 'epoch_2.pth'))
    assert seen[start : start + 7] == [
        ('replace', 'epoch_2.pth'),
        ('replace', 'last_checkpoint'),
        ('remove', 'epoch_1.pth'),
        ('replace', 'best_loss_epoch_2.pth'),
        ('replace', 'epoch_2.pth'),
        ('replace', 'last_checkpoint'),
        ('remove', 'best_loss_epoch_1.pth'),
    ]


@pytest.mark.parametrize('keep', [1, pytest.param(2, marks=pytest.mark.full)])
def test_a_crash_at_any_file_operation_loses_nothing(tmp_path, keep):
    # With two epochs, the second removes what is of the first.
    cfg = dict(max_keep_ckpts=keep, epochs=keep + 1)
    train(make(tmp_path / 'whole', **cfg))
    expected = left(tmp_path / 'whole')
    count, crashed = 0, True
    while crashed:
        count += 1
        work_dir = tmp_path / str(count)
        with pytest.MonkeyPatch.context() as patch:
            seen = crash_at(patch, count)
            try:
                train(make(work_dir, **cfg))
                crashed = False
            except Crash:
                pass
        pointer = work_dir / 'last_checkpoint'
        if ('replace', 'last_checkpoint') in seen[:-1]:
            assert 'optimizer' in torch.load(pointer.read_text())
        train(make(work_dir, resume=True, **cfg))
        files, content = left(work_dir)
        assert files == expected[0], seen
        assert same(content, expected[1]), seen
    assert count > 10


def victim_and_checkpoint(tmp_path, change):
    """A file elsewhere, and a checkpoint of epoch 1 whose message hub was tampered with."""
    victim = tmp_path / 'victim' / 'best_loss_epoch_9.pth'
    victim.parent.mkdir()
    victim.write_text('precious')
    cfg = make(tmp_path / 'run', max_keep_ckpts=-1)
    train(cfg)
    checkpoint = torch.load(tmp_path / 'run/epoch_1.pth', weights_only=False)
    change(checkpoint, victim)
    return victim, checkpoint


def names_a_file_to_remove(checkpoint, victim):
    info = checkpoint['message_hub']['runtime_info']
    info.update(best_ckpt=str(victim), best_score=1e9, last_ckpt=str(victim))
    info.update(keep_ckpt_ids=[f'/../../victim/{victim.name}', 1])


@pytest.mark.parametrize('place', ['evil', 'run'])
def test_a_checkpoint_cannot_name_a_file_to_remove(tmp_path, place):
    victim, checkpoint = victim_and_checkpoint(tmp_path, names_a_file_to_remove)
    source = tmp_path / place / 'epoch_1.pth'
    source.parent.mkdir(exist_ok=True)
    torch.save(checkpoint, source)
    train(make(tmp_path / 'run', resume=True, load_from=str(source)))
    assert victim.read_text() == 'precious'
    info = torch.load(tmp_path / 'run/epoch_3.pth')['message_hub']['runtime_info']
    assert str(victim.parent) not in str(info)
    assert info['best_ckpt'] == str(tmp_path / 'run/best_loss_epoch_3.pth')


def test_mmengines_own_hook_removes_that_file(tmp_path, monkeypatch):
    """What the test above is about; it fails once MMEngine does not need it any more."""
    victim, checkpoint = victim_and_checkpoint(tmp_path, names_a_file_to_remove)
    del checkpoint['message_hub']['runtime_info']['keep_ckpt_ids']
    torch.save(checkpoint, tmp_path / 'evil.pth')
    monkeypatch.setitem(HOOKS.module_dict, 'CheckpointHook', MMEngineCheckpointHook)
    train(make(tmp_path / 'run', resume=True, load_from=str(tmp_path / 'evil.pth')))
    assert not victim.exists()


def test_a_checkpoint_cannot_bring_a_config_that_is_run(tmp_path):
    def change(checkpoint, victim):
        checkpoint['meta']['config'] = f'import os\nos.remove({str(victim)!r})'

    victim, checkpoint = victim_and_checkpoint(tmp_path, change)
    torch.save(checkpoint, tmp_path / 'evil.pth')
    train(make(tmp_path / 'run', resume=True, load_from=str(tmp_path / 'evil.pth')))
    assert victim.exists()


def test_the_best_of_the_folder_is_kept_in_mind_also_where_it_was_moved(tmp_path, whole):
    train(make(tmp_path / 'a', max_keep_ckpts=-1))
    (tmp_path / 'a/epoch_3.pth').unlink()
    (tmp_path / 'a/best_loss_epoch_3.pth').rename(tmp_path / 'a/best_loss_epoch_2.pth')
    (tmp_path / 'a').rename(tmp_path / 'b')
    train(make(tmp_path / 'b', resume=True))
    assert [path.name for path in (tmp_path / 'b').glob('best*')] == ['best_loss_epoch_3.pth']


def test_the_best_is_kept_in_mind_where_the_file_is_named_by_another_path(tmp_path, monkeypatch):
    train(make(tmp_path / 'a', epochs=2))
    (tmp_path / 'link').symlink_to('a')
    monkeypatch.chdir(tmp_path)
    train(make('a', resume=True, load_from='link/epoch_2.pth'))
    assert [path.name for path in (tmp_path / 'a').glob('best*')] == ['best_loss_epoch_3.pth']


def test_another_architecture_is_refused_before_a_weight_is_touched(tmp_path):
    train(make(tmp_path, max_keep_ckpts=-1))
    before = left(tmp_path)
    with pytest.raises(ValueError, match='the Toy of this config: 2 of another shape'):
        train(make(tmp_path, resume=True, width=3))
    assert left(tmp_path)[0] == before[0]
    assert same(left(tmp_path)[1], before[1])


def test_another_batch_size_or_number_of_processes_is_refused(tmp_path, monkeypatch):
    train(make(tmp_path / 'a', max_keep_ckpts=-1))
    source = str(tmp_path / 'a/epoch_1.pth')
    again = dict(resume=True, load_from=source)
    with pytest.raises(ValueError, match='trained with 1 x 2 images a step.*found 1 x 4'):
        train(make(tmp_path / 'b', batch_size=4, **again))
    monkeypatch.setattr('mmkd.engine.hooks.checkpoint.get_world_size', lambda: 2)
    with pytest.raises(ValueError, match='trained with 1 x 2 images a step.*found 2 x 2'):
        train(make(tmp_path / 'b', **again))


def test_a_run_killed_before_its_validation_validates_first(tmp_path, whole):
    def stop(self, runner):
        raise Crash

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointHook, 'before_val', stop)
        with pytest.raises(Crash):
            train(make(tmp_path / 'a'))
    assert left(tmp_path / 'a')[0] == ['epoch_1.pth', 'last_checkpoint']
    train(make(tmp_path / 'a', resume=True))
    assert left(tmp_path / 'a')[0] == whole[0]
    assert same(left(tmp_path / 'a')[1], whole[1])


def test_processes_that_go_on_from_different_iterations_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('mmkd.engine.hooks.checkpoint.all_gather_object', lambda own: [own, 7])
    with pytest.raises(RuntimeError, match=r'iterations \[0, 7\].* where all machines see it'):
        train(make(tmp_path))
    assert left(tmp_path)[0] == []
