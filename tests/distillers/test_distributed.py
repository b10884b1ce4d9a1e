"""Two processes over gloo give the losses and gradients of one with the joint batch."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FC_CLS = 'roi_head.bbox_head.fc_cls'
WORKER = Path(__file__).with_name('distributed_worker.py')


def test_all_four_methods_equal_one_process(
    detector, save_teacher, scene_batch, tmp_path, free_port
):
    # Nothing is drawn at random and both images have as many samples: every anchor and RoI counts.
    detector.train_cfg.rpn.sampler.update(num=10**6)
    detector.train_cfg.rcnn.sampler.update(num=10**6, add_gt_as_proposals=True)
    detector.train_cfg.rpn_proposal.update(nms=dict(type='nms', iou_threshold=1.0))
    teacher = save_teacher(copy.deepcopy(detector))
    terms = dict(
        kd=dict(type='KLDivergenceLoss', student=FC_CLS, teacher=FC_CLS, loss_weight=20.0),
        hint=dict(type='HintLoss', student='backbone.layer2', teacher='backbone.layer2'),
        fgfi=dict(
            type='FGFILoss',
            student='neck',
            teacher='neck',
            anchor_generator=detector.rpn_head.anchor_generator,
        ),
        review=dict(type='ReviewKDLoss', student='neck', teacher='neck'),
    )
    batch = scene_batch(sizes=((96, 128), (96, 128)))
    # Boxes of different sizes imitate different numbers of positions.
    batch['data_samples'][1].gt_instances.bboxes[0] = torch.tensor([5.0, 5, 75, 85])
    torch.save((detector, teacher, terms, batch), tmp_path / 'inputs.pth')
    results = []
    for processes in (1, 2):
        out = tmp_path / f'{processes}.pth'
        command = [sys.executable, '-m', 'torch.distributed.run', '--master_addr=127.0.0.1']
        command += [
            f'--master_port={free_port}',
            f'--nproc_per_node={processes}',
            WORKER,
            tmp_path / 'inputs.pth',
            out,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        results.append(torch.load(out))
    (losses, grads), (two_losses, two_grads) = results
    assert {'loss_kd', 'loss_hint', 'loss_fgfi', 'loss_review'} <= losses.keys()
    for key, value in losses.items():
        assert two_losses[key].item() == pytest.approx(value.item(), rel=1e-4, abs=1e-6), key
    assert two_grads.keys() == grads.keys()
    for name, grad in grads.items():
        tolerance = 1e-4 * grad.abs().max().item() + 1e-7
        assert torch.allclose(two_grads[name], grad, rtol=0, atol=tolerance), name
