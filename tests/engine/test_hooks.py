from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger

from mmkd.engine import PublishStudentHook, StepSeedHook


def draws(hook, **runner):
    runner = SimpleNamespace(seed=3, iter=5, **runner)
    hook.before_train_iter(runner, 0)
    return torch.rand(1).item(), np.random.rand()


def test_a_step_draws_the_same_whatever_came_before():
    hook = StepSeedHook()
    first = draws(hook)
    torch.rand(100)
    np.random.rand(7)
    assert draws(StepSeedHook()) == first


def test_steps_seeds_and_processes_draw_differently(monkeypatch):
    hook, seen = StepSeedHook(), []
    for seed, iteration, rank in ((3, 5, 0), (4, 5, 0), (3, 6, 0), (3, 5, 1)):
        monkeypatch.setattr('mmkd.engine.hooks.step_seed.get_rank', lambda rank=rank: rank)
        hook.before_train_iter(SimpleNamespace(seed=seed, iter=iteration), 0)
        seen.append(torch.rand(1).item())
    hook.before_train_epoch(SimpleNamespace(seed=3, iter=5))
    seen.append(torch.rand(1).item())
    assert len(set(seen)) == 5


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_draws_are_those_of_seeding_all_devices_without_waking_one(device, monkeypatch):
    seeded = []
    monkeypatch.setattr('torch.cuda.is_initialized', lambda: device == 'cuda')
    monkeypatch.setattr('torch.cuda.manual_seed_all', seeded.append)
    monkeypatch.setattr('torch.xpu.manual_seed_all', seeded.append)
    ours = draws(StepSeedHook())
    seed = torch.initial_seed()
    assert seeded == ([seed] if device == 'cuda' else [])
    torch.manual_seed(seed)
    np.random.seed(seed)
    assert (torch.rand(1).item(), np.random.rand()) == ours


def test_of_other_devices_all_are_seeded(monkeypatch):
    seeded = []
    monkeypatch.setattr('mmkd.engine.hooks.step_seed.get_device', lambda: 'npu')
    monkeypatch.setattr('torch.manual_seed', seeded.append)
    draws(StepSeedHook())
    assert len(seeded) == 1


@pytest.fixture
def after_peers(classifier, tmp_path):
    """Work dir after training two peers, of which ``best`` names the epoch of each best metric."""

    def run(best):
        cfg = dict(type='mmkd.MutualDistiller', networks=[dict(model=classifier.to_dict())] * 2)
        hub = MessageHub.get_instance('peers')
        for epoch in (1, 2, 3):
            weights = {f'networks.{i}.model.a': torch.tensor(10 * i + epoch) for i in (0, 1)}
            torch.save(dict(state_dict=weights), tmp_path / f'epoch_{epoch}.pth')
        hub.update_info('last_ckpt', str(tmp_path / 'epoch_3.pth'))
        for key, epoch in best.items():
            hub.update_info(key, str(tmp_path / f'epoch_{epoch}.pth'))
        runner = SimpleNamespace(
            cfg=Config(dict(model=cfg, default_scope='mmpretrain')),
            message_hub=hub,
            logger=MMLogger.get_current_instance(),
            work_dir=str(tmp_path),
        )
        PublishStudentHook().after_train(runner)
        found = sorted(tmp_path.glob('*student*.pth'))
        return {path.stem: torch.load(path)['state_dict']['a'].item() for path in found}

    return run


def test_every_peer_is_of_its_own_best_epoch(after_peers):
    found = after_peers({'best_ckpt_accuracy/net1_top1': 1, 'best_ckpt_accuracy/net2_top1': 2})
    assert found == dict(student=3, student2=13, best_student=1, best_student2=12)


def test_of_one_metric_all_peers_are_of_one_epoch(after_peers):
    found = after_peers({'best_ckpt': 2})
    assert found == dict(student=3, student2=13, best_student=2, best_student2=12)


def test_of_a_metric_of_no_single_peer_all_are_published_under_its_name(after_peers):
    found = after_peers(
        {
            'best_ckpt_accuracy/net2_top1': 1,
            'best_ckpt_accuracy/net2_top5': 3,
            'best_ckpt_accuracy/ensemble_top1': 2,
        }
    )
    ensemble = 'best_accuracy_ensemble_top1_student'
    assert found == {
        'student': 3,
        'student2': 13,
        'best_student2': 11,
        'best_accuracy_net2_top5_student2': 13,
        ensemble: 2,
        f'{ensemble}2': 12,
    }
