"""The teacher's own metrics before training."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmpretrain.evaluation import Accuracy

from mmkd.distillers import OfflineDistiller
from mmkd.engine import EvaluateTeacherHook
from mmkd.evaluation import OutputAccuracy

KD = dict(type='KLDivergenceLoss', student='head', teacher='{}head')


class Log(list):
    """Keeps what is logged."""

    def info(self, text):
        self.append(text)

    warning = info


class Batches(list):
    """What a data loader gives, again and again."""

    dataset = None


@pytest.fixture
def runner(classifier, save_teacher, image_batch):
    """A runner with two teachers, one of which sees images of another size, and four batches."""
    large = dict(save_teacher(classifier, seed=2, name='large.pth'), input_size=32)
    teachers = dict(small=save_teacher(classifier), large=large)
    losses = {n: dict(KD, teacher=f'{n}:head') for n in teachers}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = OfflineDistiller(classifier, losses, teachers=teachers)
    loader = Batches(image_batch(seed=seed) for seed in range(4))
    classes = [str(index) for index in range(5)]
    loader.dataset = type('Sized', (), dict(metainfo=dict(classes=classes), __len__=lambda _: 16))()
    evaluator = Evaluator([Accuracy(), OutputAccuracy()])
    log, scalars = Log(), {}
    return SimpleNamespace(
        model=model,
        iter=0,
        val_loop=SimpleNamespace(dataloader=loader, evaluator=evaluator),
        logger=log,
        visualizer=SimpleNamespace(add_scalars=lambda values, step: scalars.update(values)),
        scalars=scalars,
    )


def accuracy(teacher, batches, size=None):
    """Of the plain model, image by image."""
    hits = []
    for batch in copy.deepcopy(batches):
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
            image = (image.flip(0)[None] - 100.0) / 50.0
            if size is not None:
                image = torch.nn.functional.interpolate(
                    image, size, mode='bilinear', align_corners=False, antialias=True
                )
            with torch.no_grad():
                logits = teacher.model(image, mode='tensor')
            hits.append(float(logits.argmax() == sample.gt_label))
    return 100 * sum(hits) / len(hits)


def test_each_teacher_is_evaluated_as_it_sees_images(runner):
    state = torch.get_rng_state()
    EvaluateTeacherHook().before_train(runner)
    assert torch.equal(state, torch.get_rng_state())
    batches, teachers = list(runner.val_loop.dataloader), runner.model.teachers
    assert runner.scalars == {
        'small/accuracy/top1': pytest.approx(accuracy(teachers['small'], batches)),
        'large/accuracy/top1': pytest.approx(accuracy(teachers['large'], batches, (32, 32))),
    }


def test_near_chance_and_a_better_student_are_said_once(runner):
    hook = EvaluateTeacherHook()
    wrong = torch.zeros(5)
    for teacher in runner.model.teachers.values():
        teacher.model.head.fc.weight.zero_()
        teacher.model.head.fc.bias.copy_(wrong)
    hook.before_train(runner)
    # All are class 0: a fifth, where guessing twice as well would be two.
    near = [line for line in runner.logger if 'near chance' in line]
    assert len(near) == 2
    assert 'model.teachers.small' in near[0]
    hook.metrics = dict(teacher={'accuracy/top1': 90.0})
    hook.after_val_epoch(runner, {'accuracy/top1': 89.0})
    assert not any('above' in line for line in runner.logger)
    for top1 in (91.0, 92.0):
        hook.after_val_epoch(runner, {'accuracy/top1': top1})
    assert [line for line in runner.logger if 'above' in line] == [
        'accuracy/top1 of the student is 91, above 90 of teacher: from here on its terms may hold '
        'the student back; end them earlier, or take a better teacher'
    ]


def test_a_resumed_run_is_not_evaluated_again(runner):
    runner.iter = 3
    EvaluateTeacherHook().before_train(runner)
    assert not runner.scalars


def test_without_a_validation_set_it_is_refused(runner):
    runner.val_loop = None
    with pytest.raises(ValueError, match='nothing to validate on: give val_dataloader'):
        EvaluateTeacherHook().before_train(runner)


def test_a_teacher_of_features_has_no_metrics(runner):
    for teacher in runner.model.teachers.values():
        teacher.model.head = None
    EvaluateTeacherHook().before_train(runner)
    assert not runner.scalars
    assert any('small has no head' in line for line in runner.logger)
