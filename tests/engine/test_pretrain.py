import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from processes import pretrain, run
from torch.utils.data import DataLoader

from mmkd.distillers import OfflineDistiller
from mmkd.engine import PretrainHook

TAPS = dict(student='backbone.layer2', teacher='backbone.layer2')
DEMO = Path(__file__).parents[2] / 'configs/demo/digits_kd.py'


def make(classifier, save_teacher, **term):
    torch.manual_seed(0)
    return OfflineDistiller(
        student=classifier, teacher=save_teacher(classifier), losses=dict(a=dict(**TAPS, **term))
    )


@pytest.fixture
def runner(image_batch):
    """What the hook uses of a runner."""
    batch = image_batch(8)
    loader = DataLoader(
        list(zip(batch['inputs'], batch['data_samples'], strict=True)),
        batch_size=4,
        collate_fn=lambda pairs: dict(
            zip(('inputs', 'data_samples'), zip(*pairs, strict=True), strict=True)
        ),
    )
    optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
    return SimpleNamespace(
        iter=0,
        cfg=Config(dict(optim_wrapper=optim_wrapper)),
        train_dataloader=loader,
        logger=MMLogger('pretrain'),
    )


@pytest.fixture
def log(runner):
    """What the hook logs."""
    lines = []
    runner.logger = SimpleNamespace(info=lines.append)
    return lines


def test_an_autoencoder_of_the_teacher_leaves_the_student_alone(
    classifier, save_teacher, runner, image_batch
):
    runner.model = make(classifier, save_teacher, type='FactorTransferLoss')
    loss, data = runner.model.losses.a, runner.model.data_preprocessor(image_batch(), True)
    with pytest.raises(RuntimeError, match='PretrainHook'):
        runner.model(**data, mode='loss')
    error = runner.model.pretrain_losses(**data, names=['a'])['loss_a']
    before = copy.deepcopy(runner.model.state_dict())
    PretrainHook(['a'], length=20).before_train(runner)
    after = runner.model.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert all(key.startswith(('losses.a.paraphrasers', 'losses.a.pretrained')) for key in changed)
    assert runner.model.pretrain_losses(**data, names=['a'])['loss_a'] < 0.7 * error
    assert not any(p.requires_grad for p in loss.paraphrasers.parameters())
    assert runner.model(**data, mode='loss')['loss_a'].isfinite()


def test_a_term_through_the_student_trains_it_without_its_own_loss(
    classifier, save_teacher, runner, image_batch
):
    runner.model = model = make(classifier, save_teacher, type='HintLoss', end=0)
    before = copy.deepcopy(model.state_dict())
    data = model.data_preprocessor(image_batch(), True)
    error = model.pretrain_losses(**data, names=['a'])['loss_a']
    optimizer = dict(type='SGD', lr=0.2, momentum=0.9)
    PretrainHook(['a'], length=10, optimizer=optimizer).before_train(runner)
    assert model.pretrain_losses(**data, names=['a'])['loss_a'] < 0.5 * error
    head = [key for key in before if key.startswith('student.head')]
    assert head
    assert all(torch.equal(before[key], model.state_dict()[key]) for key in head)
    assert all(p.grad is None for p in model.parameters())
    # end=0: from now on the student learns from its own loss alone.
    assert model(**data, mode='loss')['loss_a'] == 0


def test_what_is_frozen_stays_as_it_is_in_the_phase_alone(classifier, save_teacher, runner):
    runner.model = model = make(classifier, save_teacher, type='HintLoss')
    before = copy.deepcopy(model.state_dict())
    PretrainHook(['a'], length=1, frozen=['student.backbone.layer1']).before_train(runner)
    changed = {key for key, value in model.state_dict().items() if not value.equal(before[key])}
    assert any(key.startswith('student.backbone.layer2') for key in changed)
    assert not any(key.startswith('student.backbone.layer1') for key in changed)
    assert all(p.requires_grad for p in model.student.parameters())
    assert all(module.training for module in model.student.modules())


def test_an_unknown_frozen_module_is_refused(classifier, save_teacher, runner):
    runner.model = make(classifier, save_teacher, type='HintLoss')
    with pytest.raises(ValueError, match=r"frozen has 'backbone.layer1'.*'student.backbone"):
        PretrainHook(['a'], length=1, frozen=['backbone.layer1']).before_train(runner)


def test_a_resumed_run_does_not_repeat_the_phase(classifier, save_teacher, runner, log):
    runner.model = make(classifier, save_teacher, type='HintLoss')
    before = copy.deepcopy(runner.model.state_dict())
    runner.iter = 1
    PretrainHook(['a'], length=1).before_train(runner)
    assert all(torch.equal(before[key], value) for key, value in runner.model.state_dict().items())
    assert log == ["Pre-training of ['a'] is not repeated: training goes on at iteration 1"]


def test_an_interrupted_phase_has_said_that_it_will_start_again(
    classifier, save_teacher, runner, log
):
    runner.model = make(classifier, save_teacher, type='HintLoss')
    runner.model.pretrain_losses = lambda *_, **__: pytest.fail('stopped')
    with pytest.raises(pytest.fail.Exception, match='stopped'):
        PretrainHook(['a'], length=1).before_train(runner)
    assert "Pre-training of ['a'] starts: 2 steps without a checkpoint" in log[0]


def test_a_run_resumed_after_the_phase_equals_an_uninterrupted_one(save_teacher, tmp_path):
    """In the time of one term and before that of another."""
    cfg = Config.fromfile(DEMO)
    layer, vector, logits = (
        dict(student=tap, teacher=tap) for tap in ('backbone.layer2', 'head.fc:input', 'head.fc')
    )
    cfg.model.losses = dict(
        ft=dict(type='FactorTransferLoss', **layer),
        hint=dict(type='HintLoss', **layer, end=0),
        crd=dict(type='CRDLoss', **vector, num_data=100, num_negatives=8),
        kd=dict(type='KLDivergenceLoss', **logits, end=2, warmup=3),
        ofd=dict(type='OFDLoss', **layer, begin=2),
    )
    cfg.custom_hooks = [dict(type='mmkd.PretrainHook', losses=['ft', 'hint'], length=1)]
    teacher = Config.fromfile(cfg.model.teacher.config)
    model = dict(teacher.model, data_preprocessor=teacher.data_preprocessor)
    cfg.model.teacher.checkpoint = save_teacher(model)['checkpoint']
    cfg.train_dataloader.dataset.indices = cfg.val_dataloader.dataset.indices = 100
    cfg.train_cfg.update(max_epochs=3, val_interval=3)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.randomness = dict(seed=0)

    def train(name, **change):
        run = copy.deepcopy(cfg)
        run.merge_from_dict(dict(work_dir=str(tmp_path / name), **change))
        run.experiment_name = run.visualizer.name = f'phases_{name}'
        Runner.from_cfg(run).train()
        return torch.load(tmp_path / name / 'epoch_3.pth')['state_dict']

    whole = train('whole')
    resumed = train('resumed', resume=True, load_from=f'{tmp_path}/whole/epoch_1.pth')
    assert not (tmp_path / 'resumed/epoch_1.pth').exists()
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key


def test_gradients_accumulate_as_the_optimizer_wrapper_says(
    classifier, save_teacher, runner, monkeypatch
):
    runner.model = make(classifier, save_teacher, type='HintLoss')
    runner.cfg.optim_wrapper.accumulative_counts = 3
    updates, step = [], torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD, 'step', lambda *args, **kw: updates.append(1) or step(*args, **kw)
    )
    PretrainHook(['a'], length=4, by_epoch=False).before_train(runner)
    assert len(updates) == 2  # after the third step and the last
    assert all(p.grad is None for p in runner.model.parameters())


def test_a_phase_in_iterations_may_end_within_an_epoch(classifier, save_teacher, runner):
    runner.model = make(classifier, save_teacher, type='HintLoss')
    steps = []
    pretrain_losses = runner.model.pretrain_losses
    runner.model.pretrain_losses = lambda *args, **kw: (
        steps.append(1) or pretrain_losses(*args, **kw)
    )
    PretrainHook(['a'], length=3, by_epoch=False).before_train(runner)
    assert len(steps) == 3
    PretrainHook(['a'], length=2).before_train(runner)
    assert len(steps) == 3 + 2 * len(runner.train_dataloader)


def test_processes_end_the_phase_with_equal_weights(
    classifier, save_teacher, image_batch, tmp_path
):
    cfg = dict(
        type='OfflineDistiller',
        student=classifier,
        teacher=save_teacher(classifier),
        losses=dict(a=dict(type='HintLoss', **TAPS)),
    )
    results = run(pretrain, (cfg, 'a', image_batch(8)), 2, tmp_path)
    start = make(classifier, save_teacher, type='HintLoss')
    for name, _ in start.named_parameters():
        assert torch.equal(results[0][name], results[1][name]), name
    assert any(not torch.equal(results[0][n], p) for n, p in start.named_parameters())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(losses=[], length=1), 'PretrainHook.losses'),
        (dict(losses='ab', length=1), 'PretrainHook.losses'),
        (dict(losses=['a'], length=0), 'PretrainHook.length'),
    ],
)
def test_an_empty_phase_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PretrainHook(**arguments)


def test_an_unknown_term_is_refused(classifier, save_teacher, runner):
    runner.model = make(classifier, save_teacher, type='HintLoss')
    with pytest.raises(KeyError, match=r"PretrainHook.losses has 'b'.*\['a'\]"):
        PretrainHook(['b'], length=1).before_train(runner)


def test_a_model_without_terms_is_refused(runner):
    runner.model = torch.nn.Linear(1, 1)
    with pytest.raises(TypeError, match='PretrainHook needs a distiller.*Linear'):
        PretrainHook(['a'], length=1).before_train(runner)
