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


def measure(runner, batch):
    """Let the hook see an iteration whose step is no more than the preprocessing."""
    hook = GradientShareHook(interval=1)
    hook.before_train_iter(runner, 0, batch)
    runner.model.data_preprocessor(batch, True)
    hook.after_train_iter(runner, 0, batch)


def test_the_share_is_the_ratio_of_norms_of_separate_backwards(runner, image_batch):
    model = runner.model
    measure(runner, image_batch())
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
    measure(runner, image_batch())
    assert torch.equal(state, torch.get_rng_state())
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(p.grad is None for p in runner.model.parameters())


def test_between_the_intervals_nothing_runs(runner):
    hook = GradientShareHook(interval=5)
    hook.before_train_iter(runner, 0)
    assert not runner.model.data_preprocessor._forward_hooks
    hook.after_train_iter(runner, 0)
    assert 'train/grad_share_kd' not in runner.message_hub.log_scalars


def test_what_is_measured_is_the_batch_of_the_step(detector, save_teacher, scene_batch):
    """mmdet draws a size a step, and scales the boxes in place."""
    resize = dict(
        type='BatchSyncRandomResize', random_size_range=(64, 512), size_divisor=32, interval=1
    )
    detector.data_preprocessor.batch_augments = [resize]
    losses = dict(hint=dict(type='HintLoss', student='neck', teacher='neck'))
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = OfflineDistiller(detector, losses, save_teacher(detector))
    hub = MessageHub.get_current_instance()
    hub.update_info('iter', 0)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    runner = SimpleNamespace(model=model, iter=0, message_hub=hub, optim_wrapper=wrapper)
    seen, loss = [], model.loss

    def watched(inputs, data_samples):
        seen.append((inputs.clone(), [s.gt_instances.bboxes.clone() for s in data_samples]))
        losses = loss(inputs, data_samples)
        for sample in data_samples:
            sample.gt_instances.bboxes += 1
        return losses

    model.loss = watched
    torch.manual_seed(0)
    hook, batch = GradientShareHook(interval=1), scene_batch()
    hook.before_train_iter(runner, 0, batch)
    model.train_step(batch, wrapper)
    hook.after_train_iter(runner, 0, batch)
    (inputs, boxes), (again, boxes_again) = seen
    assert torch.equal(inputs, again)
    assert all(map(torch.equal, boxes, boxes_again))
    assert hub.get_scalar('train/grad_share_hint').current() > 0
    assert not model.data_preprocessor._forward_hooks


def test_without_own_losses_there_is_nothing_to_compare_with(runner, image_batch):
    runner.model.student_loss_weight = 0
    measure(runner, image_batch())
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
