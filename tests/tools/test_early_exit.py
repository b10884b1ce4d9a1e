"""The table and the curve of early-exit inference."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmkd.cli import early_exit
from mmkd.models.early_exit import early_exit as classify_early
from mmkd.registry import MODELS


@pytest.fixture(scope='module')
def network():
    """Each layer's multiplications can be counted by hand."""
    torch.manual_seed(0)
    cfg = dict(
        type='mmkd.MultiExitClassifier',
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='mmkd.CIFARResNet', depth=8),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
        ),
        exits=[
            dict(tap='backbone.layer1', type='mmkd.LCTExit', in_channels=16, channels=(32, 64)),
            dict(tap='backbone.layer2', type='mmkd.LCTExit', in_channels=32, channels=(64,)),
        ],
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfg).eval()


def test_flops_are_those_of_all_layers_up_to_the_exit(network):
    with torch.no_grad():
        found = early_exit.costs(network, torch.zeros(1, 3, 16, 16))
    trunk = 16 * 16 * 9 * (3 * 16 + 2 * 16 * 16)
    first = 8 * 8 * 9 * 16 * 32 + 4 * 4 * 9 * 32 * 64 + 64 * 10
    stage2 = 8 * 8 * (9 * (16 * 32 + 32 * 32) + 16 * 32)
    second = 4 * 4 * 9 * 32 * 64 + 64 * 10
    stage3 = 4 * 4 * (9 * (32 * 64 + 64 * 64) + 32 * 64)
    expected = [trunk + first]
    expected.append(expected[-1] + stage2 + second)
    expected.append(expected[-1] + stage3 + 64 * 10)
    assert [row['flops'] for row in found] == expected
    assert all(row['latency'] > 0 for row in found)


def test_the_curve_is_early_exit_inference_at_each_threshold(network):

    generator = torch.Generator().manual_seed(0)
    images = 5 * torch.randn(12, 3, 1, 1, generator=generator).expand(12, 3, 16, 16)
    labels = torch.arange(12) % 10
    flops = [10, 30, 70]
    thresholds = torch.tensor([0.0, 0.12, 0.15, 0.3, 1.0])
    with torch.no_grad():
        logits = torch.stack(network.outputs(images).logits)
        curve = early_exit.budget_curve(logits.clone(), labels, flops, thresholds)
        for point, threshold in zip(curve, thresholds.tolist(), strict=True):
            found, taken = classify_early(network, images, [threshold] * 2)
            assert point['threshold'] == threshold
            assert point['flops'] == pytest.approx(sum(flops[i] for i in taken) / 12)
            hits = sum(z.argmax() == label for z, label in zip(found, labels, strict=True))
            assert point['accuracy'] == pytest.approx(100 * hits.item() / 12)
    assert len({point['flops'] for point in curve}) > 2
    assert (curve[0]['flops'], curve[-1]['flops']) == (10, 70)


def test_the_tool_reports_every_exit(tool, repo, tmp_path, network):
    """Accuracies of the last classifier are those that tools/test.py measures."""
    cfg = Config.fromfile(repo / 'configs/demo/digits_student.py')
    preprocessor = cfg.data_preprocessor
    cfg.model = dict(
        type='mmkd.MultiExitDistiller',
        student=dict(
            type='mmkd.MultiExitClassifier',
            model=cfg.model.to_dict(),
            exits=[dict(tap='backbone.layer1', type='mmkd.LCTExit', in_channels=4, channels=(8,))],
        ),
        objective=dict(type='mmkd.BEEDLoss'),
    )
    cfg.dump(tmp_path / 'config.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build({**cfg.model, 'data_preprocessor': preprocessor})
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'epoch_1.pth')
    files = (tmp_path / 'config.py', tmp_path / 'epoch_1.pth', '--work-dir')
    output = tool('analysis/early_exit.py', *files, tmp_path / 'out')
    report = json.loads((tmp_path / 'out' / 'early_exit.json').read_text())
    assert [row['name'] for row in report['classifiers']] == ['exit1', 'main']
    assert report['classifiers'][0]['flops'] < report['classifiers'][1]['flops']
    assert (tmp_path / 'out' / 'early_exit.png').stat().st_size > 0
    for name in ('exit1', 'main', 'ensemble', 'MFLOPs', 'ms', 'accuracy'):
        assert name in output
    evaluated = tool('test.py', *files, tmp_path / 'test')
    assert f'accuracy/top1: {report["classifiers"][1]["accuracy"]:.4f}' in evaluated


def test_a_network_without_exits_is_refused(tool, repo, tmp_path):
    config = 'configs/demo/digits_student.py'
    output = tool('analysis/early_exit.py', config, tmp_path / 'none.pth', ok=False)
    assert 'ImageClassifier has no exits' in output
