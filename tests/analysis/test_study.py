"""Networks beside each other on test data."""

import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from weights import save_untrained

from mmkd.analysis.examples import disagreements
from mmkd.analysis.study import Outputs, read_study
from mmkd.engine.config import read_config
from mmkd.publish import publish
from mmkd.registry import MODELS

DISTILLER, STUDENT = 'mmkd::demo/digits_kd.py', 'mmkd::demo/digits_student.py'


@pytest.fixture
def files(tmp_path):
    """Checkpoints of a teacher, a student alone, and a distillation."""
    teacher = save_untrained('mmkd::demo/digits_teacher.py', tmp_path / 'teacher.pth')
    alone = save_untrained(STUDENT, tmp_path / 'alone.pth')
    return teacher, alone, save_untrained(STUDENT, tmp_path / 'epoch_30.pth', 'student.')


def study_of(files, checkpoints=None):
    teacher, alone, distilled = files
    options = {'model.teacher.checkpoint': teacher}
    others = [('alone', STUDENT, alone)]
    return read_study(DISTILLER, checkpoints or [distilled], others, options)


def test_teacher_others_and_the_distilled_one_stand_in_this_order(files):
    study = study_of(files)
    assert [(n.name, n.role) for n in study.networks] == [
        ('teacher', 'teacher'),
        ('alone', 'other'),
        ('distilled', 'main'),
    ]
    assert study.main is study.networks[-1]
    assert study.before.name == 'alone'
    assert len({n.color for n in study.networks}) == 3
    assert not any(n.model.training for n in study.networks)


def test_a_network_says_what_its_model_predicts(files):
    study = study_of(files)
    loader = study.loader
    for network in study.networks:
        found = [s.pred_score for batch in loader for s in network.predict(batch)]
        ours = study.outputs[network.name].probabilities
        assert torch.allclose(torch.stack(found), ours, atol=1e-6), network.name
        # The last layer of these networks is linear.
        layer = network.model.head.fc
        logits = study.outputs[network.name].vectors @ layer.weight.T + layer.bias
        assert torch.allclose(logits, study.outputs[network.name].logits, atol=1e-4)
    labels = torch.cat([s.gt_label for batch in loader for s in batch['data_samples']])
    assert torch.equal(study.labels, labels)


def test_a_published_student_is_what_training_left(files, tmp_path):
    _, _, distilled = files
    publish(torch.load(distilled), Config.fromfile(str(_file(DISTILLER))), tmp_path / 'out.pth')
    both = study_of(files, [distilled, str(tmp_path / 'out.pth')])
    assert [n.name for n in both.networks[2:]] == ['distilled epoch_30', 'distilled out']
    first, second = (both.outputs[n.name].logits for n in both.networks[2:])
    assert torch.equal(first, second)


def test_checkpoints_of_one_name_are_told_apart_by_their_folders(files, tmp_path):
    (tmp_path / 'again').mkdir()
    shutil.copy(files[2], tmp_path / 'again')
    study = study_of(files, [files[2], str(tmp_path / 'again/epoch_30.pth')])
    names = [f'distilled {tmp_path.name}/epoch_30', 'distilled again/epoch_30']
    assert [network.name for network in study.networks[2:]] == names


def _file(name):
    return read_config(name, 'CONFIG').filename


def test_two_networks_of_one_name_are_refused(files):
    teacher, alone, distilled = files
    options = {'model.teacher.checkpoint': teacher}
    with pytest.raises(ValueError, match='have one name; give --with another NAME'):
        read_study(DISTILLER, [distilled], [('teacher', STUDENT, alone)], options)


def test_peers_are_networks_of_their_own(tmp_path):
    config = 'mmkd::cifar10_16px/dml_resnet8_resnet14.py'
    cfg = read_config(config, 'CONFIG')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        weights = MODELS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'epoch_1.pth')
    digits = read_config(STUDENT, 'CONFIG').test_dataloader
    options = {'test_dataloader': dict(digits, _delete_=True)}
    study = read_study(config, [str(tmp_path / 'epoch_1.pth')], (), options)
    assert [n.name for n in study.networks] == ['net1', 'net2']
    assert [n.model.backbone.depth for n in study.networks] == [8, 14]


def test_blocks_are_layers(files):
    teacher, *_ = study_of(files).networks
    stages = [f'backbone.layer{stage}.{block}' for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert teacher.layers() == stages


def outputs(*rows):
    """Classifiers' outputs of two classes with the given probabilities of the first."""
    p = torch.tensor(rows)
    return Outputs(torch.stack([p, 1 - p], dim=1).log(), p[:, None])


def test_images_are_chosen_by_who_is_right_first_and_both_ways_round(files):
    study = study_of(files)
    study.__dict__['_run'] = (
        dict(
            teacher=outputs(0.9, 0.9, 0.9, 0.9, 0.9),
            alone=outputs(0.4, 0.1, 0.9, 0.6, 0.6),
            distilled=outputs(0.6, 0.45, 0.4, 0.99, 0.65),
        ),
        torch.zeros(5, dtype=torch.long),
    )
    # Right by one alone: image 0 (gained) and 2 (lost). Surer by 0.39, 0.35 and 0.05: 3, 1, 4.
    assert disagreements(study, 4).tolist() == [0, 3, 1, 2]
    assert disagreements(study, 1).tolist() == [0]
    assert np.array_equal(np.sort(disagreements(study, 9)), range(5))
