"""``compile=True``: MMEngine's runner compiles ``train_step``."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from mmkd.registry import MODELS

pytestmark = pytest.mark.full


def losses_of_steps(cfg, batches, backend=None):
    """Losses of steps, and how many frames were compiled in each."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    optim = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=0.01)))
    step = torch.compile(model.train_step, backend=backend) if backend else model.train_step
    losses, frames = [], []
    for batch in batches:
        torch.manual_seed(0)
        losses.append({k: v.item() for k, v in step(batch, optim_wrapper=optim).items()})
        frames.append(torch._dynamo.utils.counters['frames']['total'])
    return losses, frames


def check(cfg, make):
    eager, _ = losses_of_steps(cfg, [make(seed=i) for i in range(4)])
    compiled, frames = losses_of_steps(cfg, [make(seed=i) for i in range(4)], 'aot_eager')
    assert [step.keys() for step in compiled] == [step.keys() for step in eager]
    for ours, theirs in zip(compiled, eager, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    # The taps of a step are new ones, which compiles nothing anew.
    assert frames[0] > 0
    assert frames[2] == frames[3]


LEVELS = ['backbone.layer1', 'backbone.layer2']


@pytest.mark.parametrize(
    'losses',
    [
        dict(
            kd=dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=2.0),
            hint=dict(type='HintLoss', student=LEVELS[1], teacher=LEVELS[1]),
        ),
        dict(review=dict(type='ReviewKDLoss', student=LEVELS, teacher=LEVELS)),
    ],
    ids=['kd', 'reviewkd'],
)
def test_a_compiled_classifier_learns_the_same(classifier, save_teacher, image_batch, losses):
    cfg = dict(
        type='mmkd.OfflineDistiller',
        student=classifier,
        teacher=save_teacher(classifier),
        losses=losses,
    )
    check(cfg, image_batch)
