import copy

import pytest
import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox2roi

from mmkd.distillers import DetectionDistiller, OfflineDistiller
from mmkd.taps import Taps

FC_CLS = 'roi_head.bbox_head.fc_cls'
KD = dict(type='KLDivergenceLoss', student=FC_CLS, teacher=FC_CLS, tau=1.0)
REVIEW = dict(type='ReviewKDLoss', student='neck', teacher='neck')


@pytest.fixture
def wide(detector):
    """A teacher of twice the channels in the backbone."""
    cfg = copy.deepcopy(detector)
    cfg.backbone.base_channels = 8
    cfg.neck.in_channels = [8, 16, 32, 64]
    return cfg


def distiller(student, teacher, **losses):
    torch.manual_seed(0)
    return DetectionDistiller(student=student, teacher=teacher, losses=losses)


def run(model, data, seed=0):
    """One forward in ``loss`` mode with what the RoI heads saw."""
    torch.manual_seed(seed)
    extractor = 'roi_head.bbox_roi_extractor:input[1]'
    teacher = model.teachers[''].model
    with (
        Taps(model.student, [extractor, FC_CLS]) as ours,
        Taps(teacher, [extractor, FC_CLS]) as theirs,
    ):
        losses = model(**data, mode='loss')
    return losses, (ours[extractor], ours[FC_CLS]), (theirs[extractor], theirs[FC_CLS])


def logits_at(model, inputs, rois):
    features = model.extract_feat(inputs)
    return model.roi_head._bbox_forward(features, rois)['cls_score']


def test_teacher_sees_student_proposals(detector, wide, save_teacher, scene_batch):
    model = distiller(detector, save_teacher(wide), kd=KD)
    data = model.data_preprocessor(scene_batch(), True)
    losses, (rois, student), (teacher_rois, teacher) = run(model, data)
    assert teacher_rois is rois

    # RoIs recomputed by hand: the student's proposals, assigned and sampled as its head does.
    torch.manual_seed(0)
    samples = copy.deepcopy(data['data_samples'])
    features = model.student.extract_feat(data['inputs'])
    for sample in samples:
        sample.gt_instances.labels = torch.zeros_like(sample.gt_instances.labels)
    _, proposals = model.student.rpn_head.loss_and_predict(
        features, samples, proposal_cfg=model.student.train_cfg.rpn_proposal
    )
    head, priors = model.student.roi_head, []
    for i, sample in enumerate(data['data_samples']):
        results = proposals[i]
        results.priors = results.pop('bboxes')
        assigned = head.bbox_assigner.assign(results, sample.gt_instances, None)
        priors.append(head.bbox_sampler.sample(assigned, results, sample.gt_instances).priors)
    by_hand = bbox2roi(priors)
    assert torch.equal(rois, by_hand)

    # Row i of both logits is the same box, and the loss compares exactly these rows.
    frozen = model.teachers[''].model
    assert torch.allclose(teacher, logits_at(frozen, data['inputs'], by_hand), atol=1e-5)
    expected = F.kl_div(student.log_softmax(1), teacher.softmax(1), reduction='batchmean')
    assert losses['loss_kd'].item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_teachers_own_proposals_would_be_other_boxes(detector, wide, save_teacher, scene_batch):
    """What the test above would miss if both detectors proposed the same boxes."""
    model = distiller(detector, save_teacher(wide), kd=KD)
    data = model.data_preprocessor(scene_batch(), True)
    losses, (rois, student), _ = run(model, data)
    frozen = model.teachers[''].model
    features = frozen.extract_feat(data['inputs'])
    proposals = frozen.rpn_head.predict(features, data['data_samples'], rescale=False)
    own = bbox2roi([p.bboxes for p in proposals])[: len(rois)]
    assert own.shape != rois.shape or not torch.allclose(own, rois)
    wrong = logits_at(frozen, data['inputs'], own)
    rows = min(len(wrong), len(student))
    mismatched = F.kl_div(
        student[:rows].log_softmax(1), wrong[:rows].softmax(1), reduction='batchmean'
    )
    assert mismatched.item() != pytest.approx(losses['loss_kd'].item(), rel=1e-3)


def test_feature_terms_never_run_the_teachers_heads(detector, wide, save_teacher, scene_batch):
    hint = dict(type='HintLoss', student='backbone.layer2', teacher='backbone.layer2')
    for losses, skipped in ((dict(review=REVIEW), ()), (dict(hint=hint), ('neck',))):
        model = distiller(detector, save_teacher(wide), **losses)
        calls = []
        for part in ('rpn_head', 'roi_head.bbox_head', 'roi_head.bbox_roi_extractor', *skipped):
            model.teachers[''].model.get_submodule(part).register_forward_hook(
                lambda *_, part=part, calls=calls: calls.append(part)
            )
        model(**model.data_preprocessor(scene_batch(), True), mode='loss')
        assert calls == []


def test_the_teacher_builds_no_graph_and_the_student_learns_from_every_term(
    detector, wide, save_teacher, scene_batch
):
    hint = dict(type='HintLoss', student='backbone.layer2', teacher='backbone.layer2')
    model = distiller(detector, save_teacher(wide), kd=KD, review=REVIEW, hint=hint)
    data = model.data_preprocessor(scene_batch(), True)
    losses, _, (_, teacher) = run(model, data)
    assert not teacher.requires_grad
    reached = {
        'loss_kd': 'roi_head.bbox_head.fc_cls',
        'loss_review': 'neck.fpn_convs.0.conv',
        'loss_hint': 'backbone.layer2.0.conv1',
    }
    for key, module in reached.items():
        weight = model.student.get_submodule(module).weight
        (grad,) = torch.autograd.grad(losses[key], weight, retain_graph=True)
        assert grad.abs().sum() > 0, key
    assert all(p.grad is None for p in model.teachers[''].model.parameters())


def test_student_losses_are_those_of_the_student_alone(detector, wide, save_teacher, scene_batch):
    model = distiller(detector, save_teacher(wide), kd=KD, review=REVIEW)
    data = model.data_preprocessor(scene_batch(), True)
    losses, *_ = run(model, data, seed=3)
    torch.manual_seed(3)
    alone = model.student(**data, mode='loss')
    for key, value in alone.items():
        both = [sum(v) if isinstance(v, list) else v for v in (losses[key], value)]
        assert torch.allclose(*both), key


def test_other_class_counts_refuse_kd_and_allow_feature_terms(
    detector, wide, save_teacher, scene_batch
):
    wide.roi_head.bbox_head.num_classes = 5
    teacher = save_teacher(wide)
    with pytest.raises(ValueError, match='losses.kd.*must predict the same classes'):
        distiller(detector, teacher, kd=KD)
    model = distiller(detector, teacher, review=REVIEW)
    losses = model(**model.data_preprocessor(scene_batch(), True), mode='loss')
    assert losses['loss_review'] > 0


@pytest.mark.parametrize('loss', ['KLDivergenceLoss', 'BoxDistillationLoss'])
def test_a_softmax_over_scores_of_sigmoids_is_refused(detector, wide, save_teacher, loss):
    wide.roi_head.bbox_head.loss_cls = dict(type='CrossEntropyLoss', use_sigmoid=True)
    fc_cls, fc_reg = 'roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_reg'
    term = dict(KD, type=loss)
    if loss == 'BoxDistillationLoss':
        term = dict(type=loss, student=fc_reg, teacher=[fc_reg, fc_cls])
    with pytest.raises(ValueError, match=f'losses.term: the teacher tap .*BBoxHead.*{loss}'):
        distiller(detector, save_teacher(wide), term=term)


def test_another_number_of_fpn_channels_works(detector, wide, save_teacher, scene_batch):
    wide.neck.out_channels = 12
    wide.rpn_head.in_channels = 12
    wide.roi_head.bbox_roi_extractor.out_channels = wide.roi_head.bbox_head.in_channels = 12
    model = distiller(detector, save_teacher(wide), review=REVIEW, kd=KD)
    losses = model(**model.data_preprocessor(scene_batch(), True), mode='loss')
    assert losses['loss_review'].isfinite()
    assert losses['loss_kd'].isfinite()


def test_taps_on_other_rois_are_refused(detector, wide, save_teacher):
    teacher = save_teacher(wide)
    one_sided = dict(KD, student='backbone.layer1')
    with pytest.raises(ValueError, match='losses.kd.*do not run on the same RoIs'):
        distiller(detector, teacher, kd=one_sided)
    with pytest.raises(ValueError, match="losses.kd: tap 'roi_head'.*only bbox_head, mask_head"):
        distiller(detector, teacher, kd=dict(KD, teacher='roi_head'))


def test_a_one_stage_student_has_no_rois_to_give(detector, wide, save_teacher):
    one_stage = copy.deepcopy(detector)
    one_stage.type = 'RPN'
    del one_stage['roi_head'], one_stage['train_cfg'], one_stage['test_cfg']
    one_stage.update(train_cfg=None, test_cfg=dict(rpn=detector.test_cfg.rpn))
    with pytest.raises(ValueError, match='losses.kd.*RPN has no module .roi_head'):
        distiller(one_stage, save_teacher(wide), kd=KD)


def test_the_offline_distiller_names_the_one_that_pairs_heads(detector, save_teacher):
    with pytest.raises(ValueError, match=r"losses\.kd: .*fc_cls.*type='mmkd.DetectionDistiller'"):
        OfflineDistiller(student=detector, teacher=save_teacher(detector), losses=dict(kd=KD))


class TestTermsWithoutGradient:
    @pytest.fixture
    def hint(self):
        return dict(type='HintLoss', student='backbone.layer1', teacher='backbone.layer1')

    def test_a_frozen_stage_is_named(self, detector, wide, save_teacher, hint):
        detector.backbone.frozen_stages = 1
        with pytest.raises(
            ValueError, match=r"losses\.hint.*no gradient.*'backbone.layer1' is frozen"
        ):
            distiller(detector, save_teacher(wide), hint=hint)

    def test_a_tap_inside_of_what_is_computed_again_is_named(self, detector, save_teacher, hint):
        teacher = save_teacher(detector)
        detector.backbone.with_cp = True
        inside = 'backbone.layer2.0.conv2'
        hint.update(student=inside, teacher=inside)
        with pytest.raises(ValueError, match=r"losses\.hint.*'backbone.layer2.0' has with_cp=True"):
            distiller(detector, teacher, hint=hint)
        hint.update(student='backbone.layer2', teacher='backbone.layer2')
        distiller(detector, teacher, hint=hint)

    def test_what_is_frozen_after_the_build_stops_the_first_step(
        self, detector, wide, save_teacher, scene_batch, hint
    ):
        model = distiller(detector, save_teacher(wide), hint=hint)
        model.student.backbone.requires_grad_(False)
        data = model.data_preprocessor(scene_batch(), True)
        with pytest.raises(ValueError, match=r"losses\.hint.*'backbone.layer1' is frozen"):
            model(**data, mode='loss')
        with torch.no_grad():
            assert model(**data, mode='loss')['loss_hint'] >= 0


LABELS = 'roi_head.bbox_head.loss_cls:input[1]'


def test_dkd_targets_the_class_that_the_sampler_gave_each_roi(
    detector, wide, save_teacher, scene_batch
):
    dkd = dict(type='DKDLoss', student=[FC_CLS, LABELS], teacher=FC_CLS, beta=0.25, tau=1.0)
    model = distiller(detector, save_teacher(wide), dkd=dkd)
    data = model.data_preprocessor(scene_batch(), True)
    with Taps(model.student, [LABELS]) as record:
        losses, (_, student), (_, teacher) = run(model, data)
    labels = record[LABELS]
    background = detector.roi_head.bbox_head.num_classes
    assert set(labels.tolist()) >= {background}
    expected = 0.0
    for s, t, label in zip(student, teacher, labels.tolist(), strict=True):
        p, q = t.softmax(0), s.softmax(0)
        others = [k for k in range(len(p)) if k != label]
        target = p[label] * (p[label] / q[label]).log()
        target += (1 - p[label]) * ((1 - p[label]) / (1 - q[label])).log()
        rest_p, rest_q = p[others] / p[others].sum(), q[others] / q[others].sum()
        expected += target + 0.25 * (rest_p * (rest_p / rest_q).log()).sum()
    assert losses['loss_dkd'].item() == pytest.approx(expected.item() / len(labels), rel=1e-3)
    losses['loss_dkd'].backward()
    assert model.student.roi_head.bbox_head.fc_cls.weight.grad.any()


def test_losses_of_a_teacher_are_not_run(detector, save_teacher):
    with pytest.raises(ValueError, match=r'losses\.kd: the teacher tap .*not run; tap them in'):
        distiller(detector, save_teacher(detector), kd={**KD, 'teacher': LABELS})
