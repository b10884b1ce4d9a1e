"""Hooks that stop a training which would go on all the same."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger

from mmkd.cli import train
from mmkd.engine import CheckDataHook, CheckFiniteHook
from mmkd.registry import MODELS

NAN, INF = float('nan'), float('inf')


@pytest.fixture
def step(tmp_path):
    """``step(hook, loss_kd=...)``: what a hook sees of an iteration with these numbers."""
    hub = MessageHub.get_instance('finite')

    def take(hook, scaler=None, grad_norm=1.0, **losses):
        losses['loss'] = sum(losses.values())
        for name, value in dict(losses, grad_norm=grad_norm).items():
            hub.update_scalar(f'train/{name}', value)
        runner = SimpleNamespace(
            iter=7,
            work_dir=str(tmp_path),
            message_hub=hub,
            logger=MMLogger.get_current_instance(),
            optim_wrapper=SimpleNamespace(loss_scaler=scaler),
        )
        hook.after_train_iter(runner, 0, outputs=losses)

    return take


def test_finite_numbers_pass(step):
    step(CheckFiniteHook(), loss_student=1.0, loss_kd=1e30)


def test_the_terms_that_are_not_finite_are_named_and_no_others(step):
    with pytest.raises(FloatingPointError, match=r'iteration 8 gives loss_kd=nan, loss_b=inf; try'):
        step(CheckFiniteHook(), loss_student=1.0, loss_kd=NAN, loss_b=INF)
    with pytest.raises(FloatingPointError, match=r'gives grad_norm=inf;'):
        step(CheckFiniteHook(), loss_student=1.0, grad_norm=INF)


def test_a_loss_scale_may_skip_so_many_steps_in_a_row(step):
    scaler = SimpleNamespace(is_enabled=lambda: True)
    hook = CheckFiniteHook(max_skipped=2)
    for _ in range(3):
        step(hook, scaler, grad_norm=INF, loss_kd=1.0)
        step(hook, scaler, loss_kd=INF)
        step(hook, scaler, loss_kd=1.0)
    step(hook, scaler, loss_kd=NAN)
    step(hook, scaler, loss_kd=NAN)
    with pytest.raises(FloatingPointError, match='loss_kd=nan'):
        step(hook, scaler, loss_kd=NAN)


def test_it_may_go_on_and_says_so_once(step, monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', said.append)
    hook = CheckFiniteHook(stop=False)
    for value in (NAN, NAN, 1.0, INF):
        step(hook, loss_kd=value)
    assert ['loss_kd=nan' in said[0], 'loss_kd=inf' in said[1], len(said)] == [True, True, 2]


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = torch.nn.Linear(2, 2)
    hub = MessageHub.get_instance('saving')
    (tmp_path / 'last_checkpoint').write_text('work/epoch_1.pth')
    runner = SimpleNamespace(iter=7, model=model, message_hub=hub, work_dir=str(tmp_path))
    hook = CheckFiniteHook()
    model.register_buffer('unset', torch.tensor(NAN))
    hook.before_train(runner)
    hook.before_save_checkpoint(runner, {})
    model.bias.data[1] = NAN
    with pytest.raises(FloatingPointError, match=r'work/epoch_1\.pth, was before.*bias is not fin'):
        hook.before_save_checkpoint(runner, {})


def test_a_training_that_diverges_stops_and_keeps_what_was_good(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = {str(Path("configs/demo/digits_student.py").resolve())!r}\n'
        'default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1))\n'
    )
    options = ['optim_wrapper.optimizer.lr=1e12', 'train_dataloader.batch_size=512']
    with pytest.raises(FloatingPointError, match='Training stopped .* not finite|gives loss=') as e:
        train.main([str(config), '--work-dir', str(tmp_path / 'work'), '--cfg-options', *options])
    steps = list(tmp_path.glob('work/iter_*.pth'))
    assert len(steps) <= 1
    for path in steps:
        assert str(path) in str(e.value)
        weights = torch.load(path)['state_dict'].values()
        assert all(weight.isfinite().all() for weight in weights)


@pytest.fixture
def check(classifier, save_teacher):
    """``check(classes, length, **term)``: what the hook says before training on such data."""

    def run(classes, length=100, meta=None, **term):
        teacher = save_teacher(classifier)
        if meta is not None:
            saved = torch.load(teacher['checkpoint'])
            saved['meta'] = dict(dataset_meta=dict(classes=meta))
            torch.save(saved, teacher['checkpoint'])
        kd = dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc')
        model = MODELS.build(
            dict(
                type='mmkd.OfflineDistiller',
                student=classifier,
                teacher=teacher,
                losses=dict(kd={**kd, **term}),
            )
        )
        data = [None] * length
        dataset = type('Data', (list,), {'metainfo': dict(classes=classes)})(data)
        loader = SimpleNamespace(dataset=dataset)
        CheckDataHook().before_train(SimpleNamespace(model=model, train_dataloader=loader))

    return run


FIVE = ('ant', 'bee', 'cat', 'dog', 'elk')


def test_data_of_the_same_classes_passes(check):
    check(FIVE, meta=FIVE)
    check(None)
    check(FIVE, meta=('a', 'b', 'c'))


def test_a_head_of_more_classes_than_the_data_has_is_refused(check):
    with pytest.raises(ValueError, match=r'model\.student has a head of num_classes=5.*data has 3'):
        check(FIVE[:3])


def test_a_teacher_of_the_same_classes_in_another_order_is_refused(check):
    with pytest.raises(ValueError, match=r'model\.teacher\.checkpoint was .*\(bee, ant, cat, dog'):
        check(FIVE, meta=('bee', 'ant', *FIVE[2:]))


def test_a_bank_for_more_samples_than_there_are_is_refused(check):
    vector = 'head.fc:input'
    term = dict(type='CRDLoss', student=vector, teacher=vector, num_negatives=4)
    check(FIVE, length=10, num_data=10, **term)
    with pytest.raises(ValueError, match=r'losses\.kd: CRDLoss: num_data=11, but .* has 10 sam'):
        check(FIVE, length=10, num_data=11, **term)
