"""One network that teaches itself through its exits."""

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmkd.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'

EXIT = dict(tap='backbone.layer1', type='mmkd.LCTExit', in_channels=4, channels=(8,))
OBJECTIVES = [
    dict(type='mmkd.ExitCELoss'),
    dict(type='mmkd.ExitKDLoss'),
    dict(type='mmkd.BEEDLoss', balance=1.0),
    dict(type='mmkd.BEEDLoss'),
    dict(type='mmkd.BYOTLoss'),
    dict(type='mmkd.ONELoss', tap='backbone.layer1'),
]
IDS = ['CE', 'KD', 'EED', 'BEED', 'BYOT', 'ONE']


def config(classifier, objective, **student):
    student = dict(model=classifier, exits=[EXIT, EXIT], **student)
    return dict(
        type='mmkd.MultiExitDistiller',
        student=dict(type='mmkd.MultiExitClassifier', **student),
        objective=objective,
    )


def build(classifier, objective, **student):
    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy(config(classifier, objective, **student)))


def losses_of(model, batch):
    return model(**model.data_preprocessor(batch, True), mode='loss')


@pytest.mark.parametrize('objective', OBJECTIVES, ids=IDS)
def test_every_parameter_learns_and_all_losses_are_logged(classifier, objective, image_batch):
    """Nothing is left out, so that DDP needs no find_unused_parameters."""
    model = build(classifier, objective)
    losses = losses_of(model, image_batch())
    assert {'loss_exit1_cls', 'loss_exit2_cls', 'loss_main_cls'} <= losses.keys()
    assert all(name.startswith('loss_') and loss.dim() == 0 for name, loss in losses.items())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name


def test_the_classification_loss_is_the_heads_own(classifier, image_batch):
    classifier.head.loss = dict(type='LabelSmoothLoss', label_smooth_val=0.3, num_classes=5)
    model = build(classifier, OBJECTIVES[0]).eval()
    data = model.data_preprocessor(image_batch(), True)
    losses = model(**data, mode='loss')
    labels = torch.cat([sample.gt_label for sample in data['data_samples']])
    logits = model.student.outputs(data['inputs']).logits
    for name, z in zip(('exit1', 'exit2', 'main'), logits, strict=True):
        # mmpretrain's default smoothing spreads over all classes, as torch's does.
        expected = F.cross_entropy(z, labels, label_smoothing=0.3)
        assert losses[f'loss_{name}_cls'].item() == pytest.approx(expected.item(), rel=1e-5)


def test_an_exit_trains_the_trunk_and_not_what_lies_behind_it(classifier, image_batch):
    model = build(classifier, OBJECTIVES[3])
    losses = losses_of(model, image_batch())
    sum(v for name, v in losses.items() if 'exit1' in name).backward()
    network = model.student.model
    assert network.backbone.layer1[0].conv1.weight.grad.abs().sum() > 0
    for behind in (network.backbone.layer2, network.head, model.student.exits[1]):
        assert all(p.grad is None for p in behind.parameters())


def test_the_network_alone_predicts_what_it_does_in_the_distiller(classifier, image_batch):
    model = build(classifier, OBJECTIVES[3]).eval()
    alone = MODELS.build(copy.deepcopy(classifier)).eval()
    prefix = 'student.model.'
    weights = {k.removeprefix(prefix): v for k, v in model.state_dict().items() if prefix in k}
    alone.load_state_dict(weights)
    data = model.data_preprocessor(image_batch(), False)
    with torch.no_grad():
        ours, theirs = (m(**data, mode='predict') for m in (model, alone))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.pred_score, b.pred_score)


def test_the_gate_reads_its_tap(classifier, image_batch):
    model = build(classifier, OBJECTIVES[5])
    seen = []
    model.objective.gate.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    data = model.data_preprocessor(image_batch(), True)
    stages = []
    stage = model.student.model.backbone.layer1
    stage.register_forward_hook(lambda _, args, out: stages.append(out))
    model(**data, mode='loss')
    assert torch.equal(seen[0][0], stages[0])
    assert torch.allclose(seen[0][1].sum(dim=1), torch.ones(4))


def test_a_schedule_weighs_the_terms_of_its_kind(classifier, image_batch):
    objective = dict(OBJECTIVES[5], schedules=dict(kd=dict(warmup=80, ramp='sigmoid')))
    hub = MessageHub.get_instance('exit_schedule')
    plain, scheduled = build(classifier, OBJECTIVES[5]), build(classifier, objective)
    batch = image_batch()
    for epoch in (0, 80):
        hub.update_info('epoch', epoch)
        expected, found = losses_of(plain, batch), losses_of(scheduled, batch)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            factor = math.exp(-5) if name.endswith('_kd') and epoch == 0 else 1
            assert found[name].item() == pytest.approx(factor * value.item(), rel=1e-5), name
        assert scheduled.scheduled_weights() == dict(kd=math.exp(-5) if epoch == 0 else 1)


def test_construction_leaves_running_statistics_alone(classifier):
    model = build(classifier, OBJECTIVES[3])
    for name, value in model.state_dict().items():
        if name.endswith('num_batches_tracked'):
            assert value == 0, name
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize('objective', OBJECTIVES, ids=IDS)
def test_autocast_gives_finite_float32_losses(classifier, objective, image_batch):
    model = build(classifier, objective)
    data = model.data_preprocessor(image_batch(), True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model(**data, mode='loss')
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_two_processes_equal_one(classifier, image_batch, assert_equals_one_process):
    cases = [
        (config(classifier, objective), image_batch(8), wrapper)
        for objective in OBJECTIVES[3:]
        for wrapper in ('ddp', 'fsdp')
    ]
    assert_equals_one_process(cases)


def train(work_dir, objective, **kwargs):
    """Two epochs of a few digits."""
    cfg = Config.fromfile(CONFIGS / 'demo/digits_student.py')
    cfg.model = config(cfg.model.to_dict(), objective)
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.indices = 32
        cfg[f'{split}_dataloader'].batch_size = 16
    cfg.val_evaluator = [cfg.val_evaluator, dict(type='mmkd.OutputAccuracy')]
    cfg.train_cfg.update(max_epochs=2, val_interval=1)
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=-1)
    cfg.merge_from_dict(dict(work_dir=str(work_dir), experiment_name=str(work_dir), **kwargs))
    cfg.randomness = dict(seed=0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        runner = Runner.from_cfg(cfg)
        runner.train()
    return runner


@pytest.mark.parametrize('objective', OBJECTIVES[4:], ids=IDS[4:])
def test_a_resumed_run_equals_an_uninterrupted_one(objective, tmp_path):
    runner = train(tmp_path / 'whole', objective)
    metrics = runner.message_hub.log_scalars
    for name in ('exit1', 'exit2', 'main', 'ensemble'):
        assert f'val/accuracy/{name}_top1' in metrics
    checkpoint = str(tmp_path / 'whole' / 'epoch_1.pth')
    train(tmp_path / 'resumed', objective, resume=True, load_from=checkpoint)
    whole, resumed = (
        torch.load(tmp_path / folder / 'epoch_2.pth') for folder in ('whole', 'resumed')
    )
    for name, value in whole['state_dict'].items():
        assert torch.equal(resumed['state_dict'][name], value), name
    weight = 'student.exits.0.fc.weight'
    first = torch.load(checkpoint)['state_dict'][weight]
    assert not torch.equal(first, whole['state_dict'][weight])


class TestMistakesAreNamed:
    @pytest.mark.parametrize(
        ('objective', 'error', 'message'),
        [
            (dict(type='mmkd.HintLoss'), TypeError, 'HintLoss.*expected a subclass of.*ExitLoss'),
            (dict(type='mmkd.BEEDLoss', gamma=1), TypeError, 'model.objective.gamma=1 is unknown'),
            (dict(type='mmkd.ONELoss'), ValueError, 'model.objective: .*set objective.tap'),
            (dict(type='mmkd.ONELoss', tap='backbone.layer7'), ValueError, 'nearest names'),
            (dict(type='mmkd.ONELoss', tap='head.fc'), ValueError, r'found \(2, 5\)'),
            (
                dict(type='mmkd.ExitCELoss', schedules=dict(kd=dict(warmup=2))),
                ValueError,
                r'schedules\.kd is for no term of ExitCELoss, whose kinds are cls',
            ),
            (
                dict(type='mmkd.ExitKDLoss', schedules=dict(kd=dict(warmup='2'))),
                TypeError,
                r"schedules\.kd\.warmup='2'",
            ),
            (
                dict(type='mmkd.ExitKDLoss', schedules=dict(kd=80)),
                TypeError,
                r'schedules\.kd=80 is no dict',
            ),
        ],
    )
    def test_in_the_objective(self, classifier, objective, error, message):
        with pytest.raises(error, match=message):
            build(classifier, objective)

    def test_in_the_features(self, classifier):
        message = r'exits\[0\] \(8, 32, 32\).*\(4, 64, 64\).*student.feature_tap'
        with pytest.raises(ValueError, match=message):
            build(classifier, dict(type='mmkd.BEEDLoss'), feature_tap='backbone.layer1')

    def test_in_the_student(self, classifier):
        cfg = dict(type='MultiExitDistiller', objective=dict(type='mmkd.ExitCELoss'))
        with pytest.raises(TypeError, match='ImageClassifier.*expected mmkd.MultiExitClassifier'):
            MODELS.build(dict(cfg, student=classifier))
        student = dict(type='mmkd.MultiExitClassifier', model=classifier)
        with pytest.raises(ValueError, match='model.student.exits is empty'):
            MODELS.build(dict(cfg, student=student))
