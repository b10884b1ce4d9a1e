"""Several processes over gloo give the losses and gradients of one with the joint batch."""

import copy

import pytest
import torch

FC_CLS = 'roi_head.bbox_head.fc_cls'


@pytest.fixture
def detection(detector, save_teacher):
    """A distiller of two-stage detectors with four methods, in which nothing is random."""
    # All images have as many samples: every anchor and RoI counts.
    detector.train_cfg.rpn.sampler.update(num=10**6)
    detector.train_cfg.rcnn.sampler.update(num=10**6, add_gt_as_proposals=True)
    detector.train_cfg.rpn_proposal.update(nms=dict(type='nms', iou_threshold=1.0))
    return dict(
        type='mmkd.DetectionDistiller',
        student=detector,
        teacher=save_teacher(copy.deepcopy(detector), name='detector.pth'),
        # The terms alone: mmdet normalises the detector's own losses by each process's samples.
        student_loss_weight=0.0,
        losses=dict(
            kd=dict(type='KLDivergenceLoss', student=FC_CLS, teacher=FC_CLS, loss_weight=20.0),
            hint=dict(type='HintLoss', student='backbone.layer2', teacher='backbone.layer2'),
            fgfi=dict(
                type='FGFILoss',
                student='neck',
                teacher='neck',
                anchor_generator=detector.rpn_head.anchor_generator,
            ),
            review=dict(type='ReviewKDLoss', student='neck', teacher='neck'),
        ),
    )


@pytest.fixture
def scenes(scene_batch):
    def make(count):
        batch = scene_batch(sizes=((96, 128),) * count)
        # Boxes of different sizes imitate different numbers of positions.
        batch['data_samples'][1].gt_instances.bboxes[0] = torch.tensor([5.0, 5, 75, 85])
        return batch

    return make


@pytest.fixture
def offline(classifier, save_teacher):
    """A distiller of classifiers: the student's own loss, logits, maps with adapters, vectors."""
    return dict(
        type='mmkd.OfflineDistiller',
        student=classifier,
        teacher=save_teacher(copy.deepcopy(classifier), name='classifier.pth'),
        losses=dict(
            kd=dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=4.0),
            hint=dict(type='HintLoss', student='backbone.layer1', teacher='backbone.layer1'),
            vid=dict(type='VIDLoss', student='backbone.layer2', teacher='backbone.layer2'),
            later=dict(type='HintLoss', student='backbone', teacher='backbone', begin=5),
        ),
    )


@pytest.mark.parametrize('processes', [2, pytest.param(4, marks=pytest.mark.full)])
def test_terms_equal_one_process(
    detection, scenes, offline, image_batch, assert_equals_one_process, processes
):
    cases = [
        (cfg, batch, wrapper)
        for cfg, batch in ((detection, scenes(processes)), (offline, image_batch(8)))
        for wrapper in ('ddp', 'fsdp', 'fsdp units')
    ]
    assert_equals_one_process(cases, processes)
