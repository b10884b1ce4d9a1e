"""Peers with exits through the tools: training, evaluation of every output, plain students."""

import pytest
import torch

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
