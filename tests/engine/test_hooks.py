from types import SimpleNamespace

import numpy as np
import torch

from mmkd.engine import StepSeedHook


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
