"""Shares of gradients by term."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope

from mmkd.distillers import MutualDistiller, OfflineDistiller
from mmkd.engine import GradientShareHook
from mmkd.engine.hooks.gradient_share import shares

LOSSES = dict(
    kd=dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc', loss_weight=3.0),
    hint=dict(type='HintLoss', student='backbone.layer2', teacher='backbone.layer2'),
)


@pytest.fixture
def model(classifier, save_teacher):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = OfflineDistiller(classifier, LOSSES, save_teacher(classifier))
    model.init_weights()
    return model


@pytest.fixture
def runner(model):
    hub = MessageHub.get_instance('share')
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    return SimpleNamespace(model=model, iter=0, message_hub=hub, optim_wrapper=wrapper)


def test_the_share_is_the_ratio_of_norms_of_separate_backwards(runner, image_batch):
    model = runner.model
    GradientShareHook(interval=1).after_train_iter(runner, 0, image_batch())
    norms = {}
    for key in ('loss_student', 'loss_kd', 'loss_hint'):
        alone = copy.deepcopy(model)
        losses = alone(**alone.data_preprocessor(image_batch(), True), mode='loss')
        losses[key].backward()
        grads = [p.grad for p in alone.student.parameters() if p.grad is not None]
        norms[key] = torch.cat([g.flatten() for g in grads]).norm()
    for name in ('kd', 'hint'):
        found = runner.message_hub.get_scalar(f'train/grad_share_{name}').current()
        expected = float(norms[f'loss_{name}'] / norms['loss_student'])
        assert found == pytest.approx(expected, rel=1e-4)
        assert found > 0


def test_training_does_not_notice(runner, image_batch):
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    state = torch.get_rng_state()
    GradientShareHook(interval=1).after_train_iter(runner, 0, image_batch())
    assert torch.equal(state, torch.get_rng_state())
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(p.grad is None for p in runner.model.parameters())


def test_between_the_intervals_nothing_runs(runner):
    GradientShareHook(interval=5).after_train_iter(runner, 0, None)
    assert 'train/grad_share_kd' not in runner.message_hub.log_scalars


def test_without_own_losses_there_is_nothing_to_compare_with(runner, image_batch):
    runner.model.student_loss_weight = 0
    GradientShareHook(interval=1).after_train_iter(runner, 0, image_batch())
    assert 'train/grad_share_kd' not in runner.message_hub.log_scalars


def test_a_term_that_is_off_has_no_share(classifier, save_teacher, image_batch):
    hint = dict(LOSSES['hint'], begin=5)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = OfflineDistiller(classifier, dict(LOSSES, hint=hint), save_teacher(classifier))
    losses = model(**model.data_preprocessor(image_batch(), True), mode='loss')
    found = shares(model, losses)
    assert found['hint'] == 0
    assert found['kd'] > 0


def test_mistakes_are_named(classifier):
    with pytest.raises(ValueError, match='GradientShareHook.interval=0, expected 1 or more'):
        GradientShareHook(interval=0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        peers = [dict(model=classifier), dict(model=classifier)]
        mutual = MutualDistiller(peers, dict(type='DCMLoss'))
    with pytest.raises(TypeError, match='a MutualDistiller has no terms'):
        GradientShareHook().before_train(SimpleNamespace(model=mutual))
