"""All kinds of detectors, and batches that are not everyday ones."""

import copy
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from mmdet.engine.hooks import YOLOXModeSwitchHook
from mmdet.structures.mask import BitmapMasks
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData

from mmkd.distillers import DetectionDistiller
from mmkd.taps import Taps

FC_CLS = 'roi_head.bbox_head.fc_cls'


def kd(path=FC_CLS, **kwargs):
    return dict(
        type='KLDivergenceLoss', student=path, teacher=path, tau=1.0, loss_weight=20.0, **kwargs
    )


def paper_terms(cfg):
    """The four methods of ReviewKD's supplement, as far as the detector has what they need."""
    two_stage = 'roi_head' in cfg
    anchors = (cfg.rpn_head if two_stage else cfg.bbox_head).anchor_generator
    terms = dict(
        review=dict(type='ReviewKDLoss', student='neck', teacher='neck', loss_weight=0.5),
        hint=dict(
            type='HintLoss', student='backbone.layer2', teacher='backbone.layer2', loss_weight=0.1
        ),
        fgfi=dict(
            type='FGFILoss',
            student='neck',
            teacher='neck',
            anchor_generator=anchors,
            loss_weight=0.01,
        ),
    )
    if two_stage:
        terms['kd'] = kd()
    return terms


def build(cfg, save_teacher, terms=None):
    teacher = save_teacher(copy.deepcopy(cfg))
    torch.manual_seed(0)
    return DetectionDistiller(student=cfg, teacher=teacher, losses=terms or paper_terms(cfg))


def total(losses):
    values = [sum(v) if isinstance(v, list) else v for k, v in losses.items() if 'loss' in k]
    return sum(values)


def with_masks(batch):
    for sample, image in zip(batch['data_samples'], batch['inputs'], strict=True):
        height, width = image.shape[1:]
        count = len(sample.gt_instances)
        masks = np.zeros((count, height, width), np.uint8)
        masks[:, 10:40, 10:40] = 1
        sample.gt_instances.masks = BitmapMasks(masks, height, width)
    return batch


def check_step(model, batch):
    data = model.data_preprocessor(batch, True)
    losses = model(**data, mode='loss')
    total(losses).backward()
    assert total(losses).isfinite()
    for name, parameter in model.losses.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    return losses


def test_retinanet_with_every_feature_term(retinanet, save_teacher, scene_batch):
    losses = check_step(build(retinanet, save_teacher), scene_batch())
    assert {'loss_review', 'loss_hint', 'loss_fgfi', 'loss_cls', 'loss_bbox'} <= losses.keys()


@pytest.mark.parametrize('batch', ['two images', 'no gt at all'])
def test_the_other_detection_losses_train_what_lies_before_their_taps(
    detector, save_teacher, scene_batch, batch
):
    levels = [f'neck[{i}]' for i in range(4)]
    fc_reg = 'roi_head.bbox_head.fc_reg'
    terms = {
        name: dict(type=f'{name}Loss', student=levels, teacher=levels, **weights)
        for name, weights in dict(
            CWD={},
            PKD={},
            MGD=dict(alpha_mgd=1e-3),
            FGD=dict(alpha_fgd=1e-3, beta_fgd=1e-3, gamma_fgd=1e-3, lambda_fgd=1e-3),
        ).items()
    }
    terms['box'] = dict(type='BoxDistillationLoss', student=fc_reg, teacher=[fc_reg, FC_CLS])
    model = build(detector, save_teacher, terms)
    data = model.data_preprocessor(scene_batch(), True)
    if batch == 'no gt at all':
        for sample in data['data_samples']:
            sample.gt_instances = sample.gt_instances[:0]
    losses = model(**data, mode='loss')
    weights = [model.student.get_submodule(m).weight for m in ('neck.fpn_convs.0.conv', fc_reg)]
    for name in terms:
        assert losses[f'loss_{name}'] > 0
        into_neck, into_boxes = torch.autograd.grad(
            losses[f'loss_{name}'], weights, retain_graph=True, allow_unused=True
        )
        assert into_neck.isfinite().all()
        assert into_neck.abs().sum() > 0
        assert (into_boxes is not None) == (name == 'box')
    check_step(model, scene_batch())


@pytest.mark.parametrize(
    'path', ['bbox_head.cls_convs.0', 'bbox_head.retina_cls', 'bbox_head[0]', 'bbox_head[1]']
)
def test_a_head_that_levels_share_is_learnt_on_all_of_them(
    retinanet, save_teacher, scene_batch, path
):
    terms = dict(hint=dict(type='HintLoss', student=path, teacher=path, regressor=None))
    model = build(retinanet, save_teacher, terms)
    data = model.data_preprocessor(scene_batch(), True)
    calls = []
    model.teachers[''].model.bbox_head.register_forward_pre_hook(lambda *_: calls.append(1))
    with Taps(model.student, ['neck']) as ours:
        loss = model(**data, mode='loss')['loss_hint']
    assert len(calls) == 1
    assert loss > 0
    assert len(ours['neck']) == 5
    for gradient in torch.autograd.grad(loss, ours['neck']):
        assert gradient.abs().sum() > 0


def test_cwd_trains_a_shared_classifier(retinanet, save_teacher, scene_batch):
    levels = [f'bbox_head.retina_cls@{i}' for i in range(3)]
    terms = dict(cwd=dict(type='CWDLoss', student=levels, teacher=levels))
    losses = check_step(build(retinanet, save_teacher, terms), scene_batch())
    assert losses['loss_cwd'] > 0


def test_a_loss_that_does_not_take_a_whole_head_output_says_so(retinanet, save_teacher):
    terms = dict(hint=dict(type='HintLoss', student='bbox_head', teacher='bbox_head'))
    with pytest.raises(ValueError, match=r"losses.hint \(student='bbox_head'.*'bbox_head\[0\]'"):
        build(retinanet, save_teacher, terms)


def test_a_loss_of_one_pair_names_the_tap_and_its_calls(retinanet, detector, save_teacher):
    teacher = save_teacher(detector)
    terms = dict(
        hint=dict(type='HintLoss', student='bbox_head.retina_cls', teacher='backbone.layer2')
    )
    with pytest.raises(ValueError, match=r"'bbox_head.retina_cls' runs 5 times"):
        DetectionDistiller(student=retinanet, teacher=teacher, losses=terms)


def test_a_teachers_head_gives_what_its_loss_takes(retinanet, save_teacher, scene_batch):
    # In eval() this head gives boxes in pixels, in training in strides.
    head, strides = retinanet.bbox_head, retinanet.bbox_head.anchor_generator.strides
    norm = dict(type='BN')
    retinanet.bbox_head = dict(
        type='FCOSHead',
        norm_on_bbox=True,
        strides=strides,
        norm_cfg=norm,
        **{
            key: head[key]
            for key in ('num_classes', 'in_channels', 'feat_channels', 'stacked_convs')
        },
    )
    taps = dict(student='bbox_head[1]', teacher='bbox_head[1]')
    terms = dict(hint=dict(type='HintLoss', **taps, regressor=None))
    model = build(retinanet, save_teacher, terms)
    teacher = model.teachers[''].model
    model.student.load_state_dict(teacher.state_dict())
    for module in model.student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    before = copy.deepcopy(teacher.state_dict())
    data = model.data_preprocessor(scene_batch(), True)
    assert model(**data, mode='loss')['loss_hint'] == 0
    assert not any(module.training for module in teacher.modules())
    for name, value in teacher.state_dict().items():
        assert value.equal(before[name]), name


def test_a_detector_without_rpn_has_its_proposals_in_the_batch(detector, save_teacher, scene_batch):
    detector.type = 'FastRCNN'
    del detector['rpn_head'], detector.train_cfg['rpn'], detector.test_cfg['rpn']
    batch = scene_batch()
    for sample in batch['data_samples']:
        sample.proposals = InstanceData(bboxes=sample.gt_instances.bboxes + 1)
    assert check_step(build(detector, save_teacher, dict(kd=kd())), batch)['loss_kd'] > 0


def test_a_sampler_that_runs_the_head_by_itself_is_refused_on_the_students_side(
    detector, save_teacher
):
    plain = copy.deepcopy(detector)
    detector.train_cfg.rcnn.sampler.type = 'OHEMSampler'
    with pytest.raises(ValueError, match=r'losses.kd: the student tap .*its OHEMSampler runs'):
        build(detector, save_teacher, dict(kd=kd()))
    miner = save_teacher(detector)
    DetectionDistiller(student=plain, teacher=miner, losses=dict(kd=kd()))


def test_the_hook_of_yolox_finds_the_students_head(retinanet, save_teacher):
    terms = dict(hint=dict(type='HintLoss', student='neck[0]', teacher='neck[0]'))
    model = build(retinanet, save_teacher, terms)
    runner = Mock(model=model, epoch=0, max_epochs=1)
    YOLOXModeSwitchHook(num_last_epochs=1).before_train_epoch(runner)
    assert model.student.bbox_head.use_l1


def test_mask_rcnn_heads_share_the_students_rois(mask_rcnn, save_teacher, scene_batch):
    mask = 'roi_head.mask_head.conv_logits'
    terms = dict(
        paper_terms(mask_rcnn),
        masks=dict(type='HintLoss', student=mask, teacher=mask, regressor=None),
    )
    model = build(mask_rcnn, save_teacher, terms)
    data = model.data_preprocessor(with_masks(scene_batch()), True)
    taps = [f'roi_head.{kind}_roi_extractor:input[1]' for kind in ('bbox', 'mask')]
    with Taps(model.student, taps) as ours, Taps(model.teachers[''].model, taps) as theirs:
        losses = model(**data, mode='loss')
    for tap in taps:
        assert theirs[tap] is ours[tap]
    assert len(ours[taps[0]]) > len(ours[taps[1]]) > 0  # masks are learnt on positives only
    assert losses['loss_masks'].isfinite()


def test_every_cascade_stage_has_its_own_rois(cascade_rcnn, save_teacher, scene_batch):
    stages = [f'roi_head.bbox_head.{i}.fc_cls' for i in range(2)]
    model = build(cascade_rcnn, save_teacher, {f'kd{i}': kd(s) for i, s in enumerate(stages)})
    data = model.data_preprocessor(scene_batch(), True)
    taps = [f'roi_head.bbox_roi_extractor.{i}:input[1]' for i in range(2)]
    with Taps(model.student, taps) as ours, Taps(model.teachers[''].model, taps) as theirs:
        losses = model(**data, mode='loss')
    assert all(theirs[tap] is ours[tap] for tap in taps)
    first, second = (ours[tap] for tap in taps)
    assert first.shape != second.shape or not torch.equal(first, second)
    assert losses['loss_kd0'] > 0
    assert losses['loss_kd1'] > 0


def test_a_cascade_student_learns_stage_0_from_a_plain_teacher_and_no_other(
    cascade_rcnn, detector, save_teacher, scene_batch
):
    teacher = save_teacher(detector)

    def distil(stage):
        tap = f'roi_head.bbox_head.{stage}.fc_cls'
        terms = dict(kd=dict(kd(), student=tap))
        return DetectionDistiller(student=cascade_rcnn, teacher=teacher, losses=terms)

    check_step(distil(0), scene_batch())
    with pytest.raises(ValueError, match='do not run on the same RoIs'):
        distil(1)


@pytest.mark.parametrize('kind', ['no gt in one image', 'no gt at all', 'batch of 1'])
def test_unusual_batches(detector, save_teacher, scene_batch, kind):
    model = build(detector, save_teacher)
    batch = scene_batch(sizes=((96, 128),)) if kind == 'batch of 1' else scene_batch()
    if kind != 'batch of 1':
        empty = batch['data_samples'] if kind == 'no gt at all' else batch['data_samples'][:1]
        for sample in empty:
            sample.gt_instances = sample.gt_instances[:0]
    losses = check_step(model, batch)
    if kind == 'no gt at all':
        assert losses['loss_fgfi'] == 0


def test_autocast(retinanet, save_teacher, scene_batch):
    # mmcv's RoIAlign and NMS have no bfloat16 kernels for the CPU, so a one-stage detector.
    model = build(retinanet, save_teacher)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = check_step(model, scene_batch())
    for key in ('loss_review', 'loss_hint', 'loss_fgfi'):
        assert losses[key].dtype == torch.float32


def test_accumulated_gradients_are_those_of_the_mean_of_the_steps(
    detector, save_teacher, scene_batch
):
    terms = dict(hint=paper_terms(detector)['hint'])
    model = build(detector, save_teacher, terms).eval()
    optim = build_optim_wrapper(
        model, dict(optimizer=dict(type='SGD', lr=1.0), accumulative_counts=2)
    )
    optim.initialize_count_status(model, 0, 2)
    weight = model.student.backbone.layer1[0].conv1.weight
    before, grads = weight.detach().clone(), []
    for seed in (0, 1):
        data = model.data_preprocessor(scene_batch(seed=seed), True)
        torch.manual_seed(seed)
        (grad,) = torch.autograd.grad(total(model(**data, mode='loss')), weight)
        grads.append(grad)
    for seed in (0, 1):
        torch.manual_seed(seed)
        data = model.data_preprocessor(scene_batch(seed=seed), True)
        with optim.optim_context(model):
            parsed, _ = model.parse_losses(model(**data, mode='loss'))
        optim.update_params(parsed)
        if seed == 0:
            assert torch.equal(weight, before)
    assert torch.allclose(before - weight, sum(grads) / 2, atol=1e-5)


def test_several_teachers_one_caffe_style(detector, save_teacher, scene_batch):
    caffe = copy.deepcopy(detector)
    caffe.data_preprocessor.update(mean=[103.5, 116.3, 123.7], std=[1.0] * 3, bgr_to_rgb=False)
    teachers = dict(torch=save_teacher(detector, 1, 'a.pth'), caffe=save_teacher(caffe, 2, 'b.pth'))
    terms = dict(
        review=dict(type='ReviewKDLoss', student='neck', teacher='torch:neck'),
        kd=dict(kd(), student=[FC_CLS] * 2, teacher=[f'torch:{FC_CLS}', f'caffe:{FC_CLS}']),
    )
    model = DetectionDistiller(student=detector, teachers=teachers, losses=terms)
    check_step(model, scene_batch())


def test_one_stage_in_bfloat16_is_near_float32(retinanet, save_teacher, scene_batch):
    head = retinanet.bbox_head
    terms = dict(
        review=dict(type='ReviewKDLoss', student='neck', teacher='neck'),
        kd=dict(
            type='QualityFocalKDLoss',
            student='bbox_head[0]',
            teacher='bbox_head[0]',
            anchor_generator=head.anchor_generator,
            assigner=retinanet.train_cfg.assigner,
        ),
    )
    model = build(retinanet, save_teacher, terms)
    data = model.data_preprocessor(scene_batch(), True)
    losses = model(**data, mode='loss')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = model(**data, mode='loss')
    total(half).backward()
    for name in ('loss_review', 'loss_kd'):
        assert half[name].dtype == torch.float32
        assert half[name].item() == pytest.approx(losses[name].item(), rel=0.05)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_rois_in_bfloat16_fail_in_mmdet_itself_and_in_a_sentence(
    detector, save_teacher, scene_batch
):
    """If mmcv's operators learn bfloat16, the sentence goes."""
    terms = dict(kd=dict(type='KLDivergenceLoss', student=FC_CLS, teacher=FC_CLS, tau=1.0))
    model = build(detector, save_teacher, terms)
    data = model.data_preprocessor(scene_batch(), True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        with pytest.raises(RuntimeError, match='^expected scalar type Float but found BFloat16'):
            model.student(**data, mode='loss')
        with pytest.raises(RuntimeError, match='FasterRCNN runs an operator .* set optim_wrapper'):
            model(**data, mode='loss')
    teacher = {**save_teacher(detector), 'dtype': 'bfloat16'}
    with pytest.raises(ValueError, match=r"for 'BFloat16'; remove model\.teacher\.dtype if an"):
        build(detector, lambda cfg: teacher, terms)
