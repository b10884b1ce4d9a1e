"""``load_from`` with the weights of a plain student, through MMEngine's own loading."""

import copy

import pytest
import torch
from mmengine.runner.checkpoint import load_checkpoint
from torch import nn

from mmkd.distillers import BaseDistiller, MutualDistiller
from mmkd.registry import MODELS


class Alone(BaseDistiller):
    """A student and an adapter of the distillation."""

    def __init__(self, student):
        super().__init__(student)
        self.adapter = nn.Linear(2, 2)

    def loss(self, inputs, data_samples):
        return self.student(inputs, data_samples, mode='loss')


@pytest.fixture
def weights(classifier, tmp_path):
    """File of a plain student, and what is in it."""
    state_dict = MODELS.build(classifier).state_dict()
    state_dict = {k: torch.full_like(v, 3) for k, v in state_dict.items()}
    torch.save(dict(state_dict=state_dict), tmp_path / 'student.pth')
    return str(tmp_path / 'student.pth'), state_dict


def peers(classifier):
    return MutualDistiller([dict(model=classifier)] * 2, dict(type='mmkd.DCMLoss'))


@pytest.mark.parametrize('build', [Alone, peers])
def test_a_plain_students_weights_go_into_the_student_and_nowhere_else(classifier, weights, build):
    model = build(classifier)
    before = copy.deepcopy(model.state_dict())
    file, expected = weights
    load_checkpoint(model, file)
    assert all(torch.equal(v, expected[k]) for k, v in model.student.state_dict().items())
    prefix = 'student.' if build is Alone else 'networks.0.'
    others = {k: v for k, v in model.state_dict().items() if not k.startswith(prefix)}
    assert others
    assert all(torch.equal(v, before[k]) for k, v in others.items())


def test_a_students_weights_of_another_head_are_refused_with_both_shapes(classifier, weights):
    wider = copy.deepcopy(classifier)
    wider.head.num_classes += 1
    model = Alone(wider)
    with pytest.raises(ValueError, match=r'load_from: .*instead of.*init_cfg=dict'):
        load_checkpoint(model, weights[0])


def test_a_checkpoint_of_the_same_distiller_still_loads_whole(classifier, tmp_path):
    source, model = Alone(classifier), Alone(classifier)
    nn.init.constant_(source.adapter.weight, 5)
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'epoch_1.pth')
    load_checkpoint(model, str(tmp_path / 'epoch_1.pth'), strict=True)
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in model.state_dict().items())
