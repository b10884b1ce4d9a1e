"""Training without labels, and with labels for some images."""

import copy
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch.utils.data import ConcatDataset, Dataset

from mmkd.datasets import MarkUnlabelled
from mmkd.distillers import DetectionDistiller, MutualDistiller, OfflineDistiller
from mmkd.engine.hooks import CheckDataHook
from mmkd.registry import TRANSFORMS

HINT = dict(type='HintLoss', student='backbone.layer2', teacher='backbone.layer2')
KD = dict(type='KLDivergenceLoss', student='head', teacher='head')


@pytest.fixture
def distil(classifier, save_teacher):
    def build(student=classifier, **settings):
        settings.setdefault('losses', dict(hint=HINT, kd=KD))
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            return OfflineDistiller(student, teacher=save_teacher(classifier), **settings)

    return build


def without(batch, rows):
    """The batch with some images marked as without labels."""
    for row in rows:
        batch['data_samples'][row].set_metainfo(dict(unlabelled=True))
    return batch


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


class TestOfNone:
    def test_the_terms_alone_train(self, distil, image_batch):
        model = distil(student_loss_weight=0)
        batch = image_batch()
        for sample in batch['data_samples']:
            del sample.gt_label
        losses = model(**model.data_preprocessor(batch, True), mode='loss')
        assert losses['loss_student'] == 0
        (losses['loss_hint'] + losses['loss_kd']).backward()
        assert model.student.backbone.layer1[0].conv1.weight.grad.any()

    def test_it_is_what_the_terms_are_with_labels(self, distil, image_batch):
        found = []
        for weight in (0.0, 1.0):
            torch.manual_seed(0)
            model = distil(student_loss_weight=weight)
            torch.manual_seed(0)
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, 0, 0.1)
            found.append(model(**model.data_preprocessor(image_batch(), True), mode='loss'))
        for key in ('loss_hint', 'loss_kd'):
            torch.testing.assert_close(found[0][key], found[1][key])

    def test_a_student_needs_no_head(self, distil, classifier, image_batch):
        bare = copy.deepcopy(classifier)
        del bare['head'], bare['neck']
        model = distil(bare, losses=dict(hint=HINT), student_loss_weight=0)
        losses = model(**model.data_preprocessor(image_batch(), True), mode='loss')
        losses['loss_hint'].backward()
        assert model.student.backbone.layer1[0].conv1.weight.grad.any()
        with pytest.raises(ValueError, match='has no head.*set model.student_loss_weight=0'):
            distil(bare, losses=dict(hint=HINT))


class TestOfSome:
    def test_unlabelled_images_count_in_terms_alone(self, distil, classifier, image_batch):
        torch.manual_seed(0)
        model = distil().eval()
        batch = model.data_preprocessor(without(image_batch(6), [1, 4]), True)
        losses = model(**batch, mode='loss')
        alone = copy.deepcopy(model)
        alone.teachers = model.teachers
        rows = [0, 2, 3, 5]
        samples = batch['data_samples']
        labelled = [samples[row] for row in rows]
        expected = model.student(batch['inputs'][rows], labelled, mode='loss')['loss']
        torch.testing.assert_close(losses['loss_student'], expected)
        for sample in samples:
            sample.set_metainfo(dict(unlabelled=False))
        everything = model(**batch, mode='loss')
        for key in ('loss_hint', 'loss_kd'):
            torch.testing.assert_close(losses[key], everything[key])
        assert 'extract_feat' not in vars(model.student)

    def test_a_batch_without_any_labels_trains_by_terms(self, distil, image_batch):
        model = distil()
        batch = without(image_batch(), range(4))
        losses = model(**model.data_preprocessor(batch, True), mode='loss')
        assert losses['loss_student'] == 0
        assert losses['loss_kd'] > 0

    @pytest.mark.parametrize(
        'losses',
        [
            dict(hint=dict(type='HintLoss', student='neck[0]', teacher='neck[0]')),
            dict(kd=dict(type='HintLoss', student='rpn_head.rpn_cls', teacher='rpn_head.rpn_cls')),
        ],
        ids=['neck', 'head'],
    )
    def test_of_a_detector(self, detector, save_teacher, scene_batch, losses):
        with DefaultScope.overwrite_default_scope('mmdet'):
            torch.manual_seed(0)
            model = DetectionDistiller(detector, losses, save_teacher(detector))
        model.train()
        (name,) = losses
        batch = without(scene_batch(sizes=((64, 64),) * 3), [1])
        data = model.data_preprocessor(batch, True)
        torch.manual_seed(1)
        found = model(**data, mode='loss')
        rows = [0, 2]
        samples = [data['data_samples'][row] for row in rows]
        torch.manual_seed(1)
        expected = model.student(data['inputs'][rows], samples, mode='loss')
        torch.testing.assert_close(found['loss_rpn_cls'], expected['loss_rpn_cls'])
        torch.testing.assert_close(found['loss_cls'], expected['loss_cls'])
        data['data_samples'][1].set_metainfo(dict(unlabelled=False))
        everything = model(**data, mode='loss')
        torch.testing.assert_close(found[f'loss_{name}'], everything[f'loss_{name}'])
        # Through its own image and the term alone.
        inputs = data['inputs'].clone().requires_grad_()
        data['data_samples'][1].set_metainfo(dict(unlabelled=True))
        losses = model(inputs, data['data_samples'], mode='loss')
        (term,) = torch.autograd.grad(losses[f'loss_{name}'], inputs, retain_graph=True)
        (own,) = torch.autograd.grad(losses['loss_cls'], inputs)
        assert term[1].any()
        assert not own[1].any()
        assert own[0].any()


class Images(Dataset):
    """A data set as mmpretrain has it, with what the hook looks at."""

    def __init__(self, part):
        self.with_label = part != 'without'
        self.pipeline = Compose([MarkUnlabelled()] if part == 'marked' else [])

    def __len__(self):
        return 8

    def __getitem__(self, index):
        torch.rand(1)
        return {}


def runner(model, parts):
    dataset = ConcatDataset([Images(part) for part in parts])
    return SimpleNamespace(model=model, train_dataloader=SimpleNamespace(dataset=dataset))


@pytest.mark.parametrize(
    ('parts', 'settings', 'said'),
    [
        (['without'], {}, 'none of the training images has labels.*student_loss_weight=0, found 1'),
        (['marked'], {}, 'none of the training images has labels'),
        (
            ['with', 'marked'],
            dict(losses=dict(dkd=dict(type='DKDLoss', student='head', teacher='head'))),
            'losses.dkd is a DKDLoss, which needs labels, and some of the training images',
        ),
        (
            ['without'],
            dict(
                losses=dict(dkd=dict(type='DKDLoss', student='head', teacher='head')),
                student_loss_weight=0,
            ),
            'losses.dkd is a DKDLoss, which needs labels, and none',
        ),
    ],
)
def test_what_needs_labels_is_refused_before_the_first_step(distil, parts, settings, said):
    with pytest.raises(ValueError, match=said):
        CheckDataHook().before_train(runner(distil(**settings), parts))


@pytest.mark.parametrize(('boxes', 'said'), [(True, None), (False, 'none of the training images')])
def test_a_detectors_images_have_labels_if_their_pipeline_loads_them(distil, boxes, said):
    found = dict(bboxes=torch.zeros(0, 4)) if boxes else {}
    sample = DetDataSample(gt_instances=InstanceData(**found))

    scenes = type('Scenes', (Images,), dict(__getitem__=lambda *_: dict(data_samples=sample)))
    given = SimpleNamespace(
        model=distil(), train_dataloader=SimpleNamespace(dataset=scenes('with'))
    )
    with pytest.raises(ValueError, match=said) if said else nullcontext():
        CheckDataHook().before_train(given)


def test_looking_draws_no_random_numbers(distil):
    state = torch.get_rng_state()
    CheckDataHook().before_train(runner(distil(), ['with']))
    assert torch.equal(state, torch.get_rng_state())


def test_what_needs_none_is_not(distil):
    for parts, settings in ((['with', 'marked'], {}), (['without'], dict(student_loss_weight=0))):
        CheckDataHook().before_train(runner(distil(**settings), parts))


def test_terms_on_sampled_boxes_and_other_distillers_need_all_labels(
    detector, classifier, save_teacher
):
    with DefaultScope.overwrite_default_scope('mmdet'):
        tap = 'roi_head.bbox_head.fc_cls'
        losses = dict(kd=dict(type='KLDivergenceLoss', student=tap, teacher=tap))
        model = DetectionDistiller(detector, losses, save_teacher(detector))
    with pytest.raises(ValueError, match='losses.kd.student=.*samples boxes by, and some'):
        model.check_data(None, 8, 'some')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        peers = [dict(model=classifier), dict(model=classifier)]
        mutual = MutualDistiller(peers, dict(type='DCMLoss'))
    with pytest.raises(ValueError, match='none of the training images .*take mmkd.OfflineDist'):
        mutual.check_data(None, 8, 'none')


def test_the_step_marks_images_whatever_they_have():
    mark = TRANSFORMS.build(dict(type='MarkUnlabelled'))
    assert mark(dict(instances=[])) == dict(instances=[], unlabelled=True)
    assert mark({})['gt_label'] == 0
