"""``init_student``: the student starts from the teacher's neck and heads."""

import copy

import pytest
import torch
from mmengine.runner import load_checkpoint

from mmkd.distillers import DetectionDistiller, OfflineDistiller

HINT = dict(hint=dict(type='HintLoss', student='backbone.layer2', teacher='backbone.layer2'))


def detection_distiller(student, teacher, **kwargs):
    torch.manual_seed(0)
    return DetectionDistiller(student, HINT, teacher, init_student=True, **kwargs)


def same_as_teachers(model):
    """The names of the student's weights that are the teacher's."""
    ours = model.student.state_dict()
    theirs = model.teachers[''].model.state_dict()
    return {k for k, v in ours.items() if k in theirs and torch.equal(v, theirs[k])}


def test_neck_and_heads_are_the_teachers_and_the_backbone_is_not(detector, save_teacher):
    teacher = copy.deepcopy(detector)
    teacher.backbone.depth = 34
    model = detection_distiller(detector, save_teacher(teacher))
    model.init_weights()
    same, names = same_as_teachers(model), model.student.state_dict()
    assert {name for name in names if not name.startswith('backbone.')} <= same
    assert 'backbone.conv1.weight' not in same
    # Its own tensors: training the student leaves the teacher as it is.
    name = 'neck.fpn_convs.0.conv.weight'
    model.student.get_parameter(name).data.zero_()
    assert model.teachers[''].model.get_parameter(name).any()


def test_weights_of_other_shapes_are_the_students_own(detector, save_teacher):
    teacher = copy.deepcopy(detector)
    teacher.roi_head.bbox_head.num_classes = 4
    model = detection_distiller(detector, save_teacher(teacher))
    model.init_weights()
    same = same_as_teachers(model)
    assert {'rpn_head.rpn_conv.weight', 'roi_head.bbox_head.shared_fcs.0.weight'} <= same
    assert 'roi_head.bbox_head.fc_cls.weight' not in same


def test_a_checkpoint_that_is_loaded_afterwards_wins(detector, save_teacher, tmp_path):
    model = detection_distiller(detector, save_teacher(detector))
    model.init_weights()
    weights = {k: torch.full_like(v, 3) for k, v in model.student.state_dict().items()}
    torch.save(dict(state_dict=weights), tmp_path / 'student.pth')
    load_checkpoint(model, str(tmp_path / 'student.pth'))
    assert all((v == 3).all() for v in model.student.state_dict().values())


def test_without_it_nothing_is_the_teachers(classifier, save_teacher):
    model = OfflineDistiller(classifier, HINT, save_teacher(classifier))
    model.init_weights()
    assert 'head.fc.weight' not in same_as_teachers(model)


def test_nothing_to_start_from_is_refused(classifier, save_teacher):
    teacher = copy.deepcopy(classifier)
    teacher.head.num_classes = 7
    with pytest.raises(ValueError, match=r'init_student=True: none of the 2 weights.*name and'):
        OfflineDistiller(classifier, HINT, save_teacher(teacher), init_student=True)


def test_several_teachers_are_refused(classifier, save_teacher):
    hint = dict(HINT['hint'], teacher='a:backbone.layer2')
    with pytest.raises(
        ValueError, match=r"one teacher, found teachers \['a'\]; give model.teacher"
    ):
        OfflineDistiller(
            classifier,
            dict(hint=hint),
            teachers=dict(a=save_teacher(classifier)),
            init_student=True,
        )


def test_a_second_call_leaves_what_was_learnt(detector, save_teacher):
    model = detection_distiller(detector, save_teacher(detector))
    model.init_weights()
    weight = model.student.get_parameter('neck.fpn_convs.0.conv.weight')
    weight.data.zero_()
    model.init_weights()
    assert not weight.any()
