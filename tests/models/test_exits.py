"""Exits against the tables of their papers."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmkd.models import (
    BottleneckExit,
    BranchExit,
    BYOTExit,
    LCTExit,
    LinearExit,
    TOFDExit,
    TokenExit,
)
from mmkd.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs' / 'multi_exit'

#: Rethinking Online Knowledge Distillation with Multi-Exits, supplement, Fig. 1: side of the last
#: map (its average pooling), and for each exit the channels and strides of its bottleneck blocks.
RESNET = (4, [[(128, 2), (256, 2), (512, 2)], [(256, 2), (512, 2)], [(512, 2)]])
WRN = (8, [[(128, 2), (256, 2)], [(256, 2)]])
FIGURE_1 = {
    'resnet18': RESNET,
    'resnet34': RESNET,
    'wrn_16_4': WRN,
    'wrn_28_4': WRN,
    'mobilenet_v2': (4, [[(144, 2), (192, 2), (320, 2)], [(192, 2), (320, 2)], [(320, 2)]]),
    'efficientnet_b0': (4, [[(144, 2), (240, 2), (320, 2)], [(240, 2), (320, 2)], [(320, 2)]]),
}
#: Channels of the map where each exit starts: the block before the line in the figure.
STARTS = {
    'resnet18': [64, 128, 256],
    'resnet34': [64, 128, 256],
    'wrn_16_4': [64, 128],
    'wrn_28_4': [64, 128],
    'mobilenet_v2': [24, 32, 96],
    'efficientnet_b0': [24, 40, 112],
}


def build(name):
    cfg = Config.fromfile(CONFIGS / name)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model.student).eval()


def convolutions(module):
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize('name', FIGURE_1)
def test_figure_1(name):
    side, exits = FIGURE_1[name]
    network = build(f'{name}_beed_cifar100.py')
    assert all(type(run) is BottleneckExit for run in network.exits)
    assert [convolutions(run)[0].in_channels for run in network.exits] == STARTS[name]
    for run, expected in zip(network.exits, exits, strict=True):
        triples = [convolutions(block) for block in run.layers]
        found = [(middle.out_channels, middle.stride[0]) for _, middle, _ in triples]
        assert found == expected
        for convs in triples:
            assert [conv.kernel_size for conv in convs] == [(1, 1), (3, 3), (1, 1)]
            assert len({conv.out_channels for conv in convs}) == 1
    with torch.no_grad():
        outputs = network.outputs(torch.randn(2, 3, 32, 32))
    shape = (2, exits[0][-1][0], side, side)
    assert [tuple(h.shape) for h in outputs.features] == [shape] * (len(exits) + 1)
    assert [tuple(z.shape) for z in outputs.logits] == [(2, 100)] * (len(exits) + 1)


@pytest.mark.parametrize('name', FIGURE_1)
def test_structures_of_table_1_end_where_the_network_does(name):
    """Each reads its network's exits as Fig. 1 has them, so that ``exit_type`` alone changes it."""
    side, exits = FIGURE_1[name]
    cfg = Config.fromfile(CONFIGS / f'{name}_beed_cifar100.py').model.student
    for structure in (LCTExit, BYOTExit, TOFDExit):
        for kwargs, blocks in zip(cfg.exits, exits, strict=True):
            kwargs = {k: v for k, v in kwargs.items() if k != 'tap'}
            start = side * 2 ** len(blocks)
            x = torch.zeros(2, kwargs['in_channels'], start, start)
            feature, logits = structure(num_classes=7, **kwargs)(x)
            assert feature.shape == (2, exits[0][-1][0], side, side)
            assert logits.shape == (2, 7)


def test_one_option_changes_the_structure_of_all_exits():
    student = Config.fromfile(CONFIGS / 'wrn_16_4_ce_cifar100.py').model.student
    student.exit_type = 'mmkd.TOFDExit'
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        assert [type(run) for run in MODELS.build(student).exits] == [TOFDExit] * 2
        del student.exit_type
        with pytest.raises(ValueError, match=r'exits\[0\].type is missing.*exit_type'):
            MODELS.build(student)


def test_exits_of_mobilenet_v2_as_the_text_has_them():
    """Supplement A.1: the channels of the network's last convolution, 1280; Fig. 1 has 320."""
    cfg = Config.fromfile(CONFIGS / 'mobilenet_v2_ce_cifar100.py')
    cfg.merge_from_dict(
        {
            'model.student.feature_tap': 'neck:input',
            'model.student.exits.0.channels': [144, 192, 1280],
            'model.student.exits.1.channels': [192, 1280],
            'model.student.exits.2.channels': [1280],
        }
    )
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        network = MODELS.build(cfg.model.student).eval()
    with torch.no_grad():
        features = network.outputs(torch.zeros(1, 3, 32, 32)).features
    assert [tuple(h.shape) for h in features] == [(1, 1280, 4, 4)] * 4


def test_msdnet_has_four_classifiers_of_128_channels():
    network = build('msdnet_beed_cifar100.py')
    assert [type(run) for run in network.exits] == [LinearExit] * 3
    outputs = network.outputs(torch.randn(2, 3, 32, 32))
    assert [h.shape[1] for h in outputs.features] == [128] * 4


def test_byot_reduces_in_one_step_at_a_quarter_of_the_channels():
    network = build('resnet18_byot_cifar100.py')
    for run, stride in zip(network.exits, (8, 4, 2), strict=True):
        assert type(run) is BYOTExit
        first, middle, last = convolutions(run)
        assert (first.out_channels, middle.out_channels, last.out_channels) == (128, 128, 512)
        assert middle.kernel_size == middle.stride == (stride, stride)


def test_tofd_is_two_separable_convolutions_a_block():
    run = TOFDExit(64, (128, 256), 10)
    found = [
        [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], c.groups) for c in convs]
        for convs in map(convolutions, run.layers)
    ]
    assert found == [
        [(64, 64, 3, 2, 64), (64, 64, 1, 1, 1), (64, 64, 3, 1, 64), (64, 128, 1, 1, 1)],
        [(128, 128, 3, 2, 128), (128, 128, 1, 1, 1), (128, 128, 3, 1, 128), (128, 256, 1, 1, 1)],
    ]


def test_lct_is_one_convolution_a_block():
    run = LCTExit(64, (128, 256), 10)
    found = [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in convolutions(run)]
    assert found == [(128, 3, 2), (256, 3, 2)]


@pytest.mark.parametrize('structure', [BottleneckExit, TOFDExit, LCTExit])
def test_features_are_rectified_and_the_classifier_sees_their_mean(structure):
    torch.manual_seed(0)
    run = structure(3, (4, 8), 5).eval()
    x = torch.randn(2, 3, 8, 8)
    feature, logits = run(x)
    assert feature.shape == (2, 8, 2, 2)
    assert feature.min() == 0
    expected = feature.mean((2, 3)) @ run.fc.weight.T + run.fc.bias
    assert torch.allclose(logits, expected, atol=1e-6)


def test_tokens_are_classified_by_the_first_or_by_all_of_them():
    torch.manual_seed(0)
    tokens = torch.randn(2, 5, 8)
    others = torch.cat([tokens[:, :1], torch.randn(2, 4, 8)], dim=1)
    shuffled = tokens[:, [3, 0, 4, 1, 2]]
    cls, mean = (TokenExit(8, 3, pool=pool, channels=(6,)) for pool in ('cls', 'mean'))
    assert cls(tokens)[0].shape == (2, 6)
    torch.testing.assert_close(cls(tokens), cls(others))
    torch.testing.assert_close(mean(tokens), mean(shuffled))
    assert not torch.allclose(cls(tokens)[1], cls(shuffled)[1])
    assert not torch.allclose(mean(tokens)[1], mean(others)[1])
    # As a transformer ends: the norm of each token, and then the mean.
    last = TokenExit(8, 3, pool='mean')
    normed = (tokens - tokens.mean(-1, keepdim=True)) / (
        tokens.var(-1, False)[..., None] + 1e-5
    ).sqrt()
    torch.testing.assert_close(last(tokens)[1], last.fc(normed.mean(1)))


def test_branches_repeat_the_last_stage_with_weights_of_their_own():
    network = build('resnet32_one_cifar100.py')
    stage = network.model.backbone.layer3
    branches = [run.layers[0] for run in network.exits]
    assert len(branches) == 2
    for branch in branches:
        assert {k: v.shape for k, v in branch.state_dict().items()} == {
            k: v.shape for k, v in stage.state_dict().items()
        }
    weights = [b[0].conv1.weight for b in (*branches, stage)]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    # The branch computes what the stage would: same weights, same logits.
    branches[0].load_state_dict(stage.state_dict())
    network.exits[0].fc.load_state_dict(network.model.head.fc.state_dict())
    logits = network.outputs(torch.randn(2, 3, 32, 32)).logits
    assert torch.allclose(logits[0], logits[-1], atol=1e-6)


def test_branches_of_mmpretrains_backbones(classifier):
    branch = dict(type='BranchExit', backbone=classifier.backbone, stages=('layer2',))
    exits = [dict(branch, tap='backbone.layer1', feat_channels=8)]
    network = MODELS.build(dict(type='mmkd.MultiExitClassifier', model=classifier, exits=exits))
    stage, copied = network.model.backbone.layer2, network.exits[0].layers[0]
    assert [p.shape for p in copied.parameters()] == [p.shape for p in stage.parameters()]


def test_exits_are_initialised_with_the_network():
    """He initialisation, once ``init_weights`` is called as the runner does."""
    network = build('resnet18_beed_cifar100.py')
    conv = convolutions(network.exits[0])[1]
    nn.init.zeros_(conv.weight)
    network.init_weights()
    fan_out = conv.out_channels * 9
    assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="pool='max', expected 'cls' or 'mean'"):
        TokenExit(8, 3, pool='max')
    with pytest.raises(ValueError, match=r'expected tokens .*\[0\]'):
        TokenExit(8, 3)((torch.zeros(2, 5, 8), (1, 5)))
    with pytest.raises(ValueError, match=r"first of 49 tokens, a grid of 7x7 .* pool='mean'"):
        TokenExit(8, 3)(torch.zeros(2, 49, 8))
    with pytest.raises(ValueError, match=r'BottleneckExit: channels=\(8, 8\) and strides=\(2,\)'):
        BottleneckExit(3, (8, 8), 5, strides=(2,))
    with pytest.raises(ValueError, match=r'LCTExit: channels=\(\).*at least one block'):
        LCTExit(3, (), 5)
    backbone = dict(type='mmkd.CIFARResNet', depth=8)
    with pytest.raises(ValueError, match=r"stages=\('layer4',\); expected.*'layer3'"):
        BranchExit(backbone, ('layer4',), 64, 5)
