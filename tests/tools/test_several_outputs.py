"""Peers with exits through the tools: training, evaluation of every output, plain students."""

import shutil

import pytest
import torch
from mmengine.config import Config

CONFIG = """
_base_ = '{repo}/configs/demo/digits_student.py'
_exits = [dict(tap='backbone.layer1', type='mmkd.LCTExit', in_channels=4, channels=(8,))]
model = dict(
    _delete_=True,
    type='mmkd.MutualDistiller',
    networks=[dict(model=_base_.model, exits=_exits), dict(model=_base_.model, exits=_exits)],
    objective=dict(type='mmkd.DCMLoss'),
)
val_evaluator = [dict(type='Accuracy'), dict(type='mmkd.OutputAccuracy')]
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1, val_interval=1)
default_hooks = dict(checkpoint=dict(save_best=['accuracy/net1_top1', 'accuracy/net2_top1']))
"""
OUTPUTS = {'net1', 'net1_exit1', 'net2', 'net2_exit1', 'ensemble'}


@pytest.fixture(scope='module')
def trained(tool, repo, tmp_path_factory):
    """Work dir of peers trained for an epoch."""
    work_dir = tmp_path_factory.mktemp('peers')
    (work_dir / 'config.py').write_text(CONFIG.format(repo=repo))
    tool('train.py', work_dir / 'config.py', '--work-dir', work_dir / 'run')
    return work_dir


@pytest.fixture(scope='module')
def whole(tool, trained, metrics):
    """What tools/test.py reports of the training checkpoint."""
    config, folder = trained / 'config.py', trained / 'whole'
    tool('test.py', config, trained / 'run' / 'epoch_1.pth', '--work-dir', folder)
    return metrics(folder)


def test_every_output_of_a_training_checkpoint_is_evaluated(whole):
    assert whole.keys() >= {f'accuracy/{name}_top1' for name in OUTPUTS}
    assert whole['accuracy/top1'] == pytest.approx(whole['accuracy/net1_top1'])
    assert len(set(whole.values())) > 2


@pytest.mark.parametrize(('name', 'peer'), [('student', 'net1'), ('student2', 'net2')])
def test_every_peer_is_a_plain_student_of_the_same_accuracy(
    name, peer, tool, trained, whole, metrics, tmp_path
):
    run = trained / 'run'
    tool('test.py', run / f'{name}.py', run / f'{name}.pth', '--work-dir', tmp_path)
    found = metrics(tmp_path)
    assert 'accuracy/net1_top1' not in found
    assert found['accuracy/top1'] == pytest.approx(whole[f'accuracy/{peer}_top1'])
    best, last = (torch.load(run / f'{of}{name}.pth')['state_dict'] for of in ('best_', ''))
    assert all(torch.equal(best[key], last[key]) for key in last)
    assert Config.fromfile(run / f'{name}.py').default_hooks.checkpoint.save_best == 'accuracy/top1'


def test_exits_are_kept_on_request_and_no_file_is_overwritten(
    tool, trained, whole, metrics, tmp_path
):
    config, checkpoint = trained / 'config.py', trained / 'run' / 'epoch_1.pth'
    (tmp_path / 'out2.pth').write_text('mine')
    args = ('export_student.py', config, checkpoint, tmp_path / 'out.pth', '--keep-exits')
    assert 'out2.pth exist' in tool(*args, ok=False)
    assert (tmp_path / 'out2.pth').read_text() == 'mine'
    tool(*args, '--force')
    keys = torch.load(tmp_path / 'out2.pth')['state_dict'].keys()
    assert {key.split('.')[0] for key in keys} == {'model', 'exits'}
    tool('test.py', tmp_path / 'out2.py', tmp_path / 'out2.pth', '--work-dir', tmp_path / 'test')
    found = metrics(tmp_path / 'test')
    for ours, theirs in (('main', 'net2'), ('exit1', 'net2_exit1')):
        assert found[f'accuracy/{ours}_top1'] == pytest.approx(whole[f'accuracy/{theirs}_top1'])


GENERATED = """
_base_ = '{repo}/configs/demo/digits_student.py'
_both = ['student:head.fc', 'teacher:head.fc']
model = dict(
    _delete_=True,
    type='mmkd.ConnectionDistiller',
    student=_base_.model,
    teacher_generator=dict(
        type='DynamicAdditiveConv2d', convs='backbone.layer?.*.conv?', num_kernels=2
    ),
    connections=dict(points='backbone.layer1.*'),
    teachers=dict(frozen=dict(config='{student}', checkpoint='{weights}')),
    losses=dict(
        ensemble=dict(type='LearnableEnsembleLoss', student=_both, teacher=_both),
        kd=dict(type='KLDivergenceLoss', student='head.fc', teacher='frozen:head.fc'),
    ),
)
val_evaluator = [dict(type='Accuracy'), dict(type='mmkd.OutputAccuracy')]
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1, val_interval=1)
"""


def test_a_generated_teacher_is_evaluated_beside_its_student(
    tool, repo, trained, metrics, tmp_path
):
    config, run, frozen = (tmp_path / name for name in ('config.py', 'run', 'frozen.pth'))
    shutil.copy(trained / 'run' / 'student.pth', frozen)
    student = trained / 'run' / 'student.py'
    config.write_text(GENERATED.format(repo=repo, student=student, weights=frozen))
    tool('train.py', config, '--work-dir', run)
    frozen.unlink()
    tool('test.py', config, run / 'epoch_1.pth', '--work-dir', tmp_path / 'whole')
    whole = metrics(tmp_path / 'whole')
    assert whole['accuracy/top1'] == pytest.approx(whole['accuracy/student_top1'])
    assert 'accuracy/teacher_top1' in whole
    tool('test.py', run / 'student.py', run / 'student.pth', '--work-dir', tmp_path / 'plain')
    plain = metrics(tmp_path / 'plain')
    assert 'accuracy/teacher_top1' not in plain
    assert plain['accuracy/top1'] == pytest.approx(whole['accuracy/top1'])


def test_a_threshold_needs_exits(tool, trained, tmp_path):
    said = tool(
        'test.py',
        'configs/cifar10_16px/exits_ce_resnet8.py',
        trained / 'run' / 'student.pth',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'model.student.threshold=0.5',
        ok=False,
    )
    assert 'model.student.threshold' in said
    assert 'student.pth holds no exits' in said
