"""Every network has the papers' stages and can be trained, frozen, tapped and exported."""

import io
import re
from pathlib import Path

import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from mmpretrain.models.backbones.shufflenet_v2 import InvertedResidual
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmkd.models.backbones.preact_resnet import PreActBlock
from mmkd.models.backbones.shufflenet_cifar import ShuffleUnit, ShuffleUnitV2
from mmkd.registry import MODELS
from mmkd.taps import Taps

CONFIGS = Path(__file__).parents[2] / 'configs'


def classifier(name):
    """Config of one of our networks or, where mmpretrain has it, of its baseline."""
    folder = 'baseline' if name.endswith('_imagenet') else '_base_/models'
    return Config.fromfile(CONFIGS / folder / f'{name}.py').model


def build(cfg):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfg)


def count(module):
    return sum(p.numel() for p in module.parameters())


# One small network of each class: its config, the shape of every output for 32x32 images, how many
# stages to freeze, what that freezes, and pairs of taps: the input of a ReLU and its output.
NETWORKS = {
    'CIFARResNet': (
        dict(depth=14, out_indices=(0, 1, 2)),
        [(16, 32), (32, 16), (64, 8)],
        (1, ('conv1', 'bn1', 'layer1')),
        [('layer1.1.relu@-1:input', 'layer1'), ('layer3.1.relu@-1:input', 'layer3')],
    ),
    'WideResNet': (
        dict(depth=10, widen_factor=2, dropout=0.3, out_indices=(0, 1, 2, 3)),
        [(32, 32), (64, 16), (128, 8), (128, 8)],
        (1, ('stem', 'layer1')),
        [('layer2.0.relu1:input', 'layer2.0.relu1'), ('tail.relu:input', 'tail')],
    ),
    'PreActResNet': (
        dict(depth=11, out_indices=(0, 1, 2, 3)),
        [(64, 32), (128, 16), (256, 8), (256, 8)],
        (2, ('stem', 'layer1', 'layer2')),
        [('layer3.0.relu1:input', 'layer3.0.relu1'), ('tail.relu:input', 'tail')],
    ),
    'CIFARVGG': (
        dict(depth=8, out_indices=(0, 1, 2, 3, 4)),
        [(64, 32), (128, 16), (256, 8), (512, 4), (512, 4)],
        (1, ('stem', 'layer1')),
        [('layer2.relu1:input', 'layer2'), ('layer5.relu1:input', 'layer5')],
    ),
    'CIFARMobileNetV2': (
        dict(widen_factor=0.5, out_indices=range(8)),
        [(8, 16), (12, 16), (16, 8), (32, 4), (48, 4), (80, 2), (160, 2), (1280, 2)],
        (3, ('stem', 'layer1', 'layer2', 'layer3')),
        [('tail.activate:input', 'tail')],
    ),
    'CIFARShuffleNetV1': (
        dict(out_indices=(0, 1, 2)),
        [(240, 16), (480, 8), (960, 4)],
        (1, ('stem', 'layer1')),
        [('layer1.3.relu:input', 'layer1'), ('layer2.7.relu:input', 'layer2')],
    ),
    'CIFARShuffleNetV2': (
        dict(out_indices=(0, 1, 2, 3)),
        [(116, 16), (232, 8), (464, 4), (1024, 4)],
        (0, ('stem',)),
        [('layer1.3.relu:input', 'layer1.3.relu'), ('tail.activate:input', 'tail')],
    ),
    'MobileNetV1': (
        dict(stem_stride=1, strides=(1, 1, 1, 2, 2), out_indices=(0, 1, 2, 3, 4)),
        [(64, 32), (128, 32), (256, 32), (512, 16), (1024, 8)],
        (3, ('stem', 'layer1', 'layer2', 'layer3')),
        [('layer4.5.pointwise_conv.activate:input', 'layer4')],
    ),
    'CIFARDenseNet': (
        dict(depth=10, growth_rate=12, out_indices=(0, 1, 2, 3)),
        [(40, 32), (64, 16), (88, 8), (88, 8)],
        (1, ('stem', 'layer1')),
        [('tail.relu:input', 'tail')],
    ),
    'CIFAREfficientNet': (
        dict(out_indices=(0, 1, 2, 3, 4)),
        [(32, 32), (24, 32), (40, 16), (112, 8), (320, 4)],
        (2, ('layers.0', 'layers.1')),
        [],
    ),
    'MSDNet': (
        dict(num_exits=4),
        [(128, 2)] * 4,
        (1, ('stem', 'layer1')),
        [('exit1.1.activate:input', 'exit1'), ('exit4.1.activate:input', 'exit4')],
    ),
}


@pytest.fixture(params=NETWORKS)
def name(request):
    return request.param


def network(name, **kwargs):
    torch.manual_seed(0)
    return build(dict(type=f'mmkd.{name}', **{**NETWORKS[name][0], **kwargs}))


def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def backward(outs):
    sum(out.float().square().mean() for out in outs).backward()


def shapes(outs):
    return [(out.shape[1], out.shape[2]) for out in outs]


def batch_norms(module):
    return {k: m for k, m in module.named_modules() if isinstance(m, _BatchNorm)}


def test_every_stage_has_its_shape_and_every_weight_a_gradient(name):
    model = network(name)
    model.init_weights()
    outs = model(images())
    assert shapes(outs) == NETWORKS[name][1]
    assert all(out.isfinite().all() for out in outs)
    backward(outs)
    for parameter in model.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any()


def test_bfloat16_autocast_is_finite(name):
    model = network(name)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outs = model(images())
    backward(outs)
    assert all(out.isfinite().all() for out in outs)
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_the_last_output_alone_is_the_default(name):
    kwargs = {k: v for k, v in NETWORKS[name][0].items() if k != 'out_indices'}
    model, everything = build(dict(type=f'mmkd.{name}', **kwargs)), network(name)
    everything.load_state_dict(model.state_dict())
    model.eval(), everything.eval()
    outs = model(images())
    assert torch.equal(outs[-1], everything(images())[-1])
    assert len(outs) == (4 if name == 'MSDNet' else 1)


def test_frozen_stages_keep_weights_and_statistics(name):
    frozen_stages, frozen = NETWORKS[name][2]
    model = network(name, frozen_stages=frozen_stages)
    model.train()
    before = {k: m.running_mean.clone() for k, m in batch_norms(model).items()}
    backward(model(images()))
    assert {k for k, p in model.named_parameters() if p.grad is None} == {
        k for k, _ in model.named_parameters() if k.startswith(tuple(f'{f}.' for f in frozen))
    }
    for k, module in batch_norms(model).items():
        kept = torch.equal(module.running_mean, before[k])
        assert kept == k.startswith(tuple(f'{f}.' for f in frozen) + frozen), k


def test_norm_eval_keeps_statistics_but_trains_weights(name):
    model = network(name, norm_eval=True)
    model.train()
    before = {k: m.running_mean.clone() for k, m in batch_norms(model).items()}
    backward(model(images()))
    assert all(torch.equal(m.running_mean, before[k]) for k, m in batch_norms(model).items())
    assert all(p.grad is not None for p in model.parameters())


def assert_onnx_gives_the_same(model, images):
    """In eval mode, on a batch that the export has not seen, of another size."""
    model.init_weights()
    model.train()
    model(images)  # statistics that are not those of a fresh norm
    model.eval()
    file = io.BytesIO()
    torch.onnx.export(
        model,
        (torch.zeros_like(images[:1]),),
        file,
        input_names=['images'],
        dynamic_axes={'images': {0: 'N'}},
        dynamo=False,
    )
    session = onnxruntime.InferenceSession(file.getvalue(), providers=['CPUExecutionProvider'])
    with torch.no_grad():
        expected = model(images)
    expected = [expected] if isinstance(expected, torch.Tensor) else expected
    outs = session.run(None, {'images': images.numpy()})
    for out, y in zip(outs, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(out), y, rtol=1e-4, atol=1e-4 * y.std().item())


def test_onnx_gives_the_same_maps(name):
    assert_onnx_gives_the_same(network(name), images())


@pytest.mark.parametrize('name', ['resnet18_cifar', 'resnet50_half', 'mobilenet_v2_dcm_imagenet'])
def test_onnx_gives_the_same_logits_for_networks_of_mmpretrain(name):
    torch.manual_seed(0)
    assert_onnx_gives_the_same(build(classifier(name)), images())


class AllLogits(BaseModule):
    """The logits of all classifiers of a network with exits, as a tuple."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return tuple(self.network.outputs(images).logits)


def test_onnx_gives_the_same_logits_for_every_exit():
    cfg = Config.fromfile(CONFIGS / '_base_/exits/wrn_16_4_cifar100.py').model.student
    torch.manual_seed(0)
    assert_onnx_gives_the_same(AllLogits(build(cfg)), images())


def test_taps_read_stages_and_what_goes_into_their_last_activation(name):
    model, pairs = network(name), NETWORKS[name][3]
    pattern = r'exit\d' if name == 'MSDNet' else r'layer\d|layers\.\d|tail'
    stages = [k for k, _ in model.named_modules() if re.fullmatch(pattern, k)]
    with Taps(model, [*stages, *(path for pair in pairs for path in pair)]) as record:
        outs = model(images())
    for stage, out in zip(stages, outs, strict=True):
        assert record[stage] is out
    for before, after in pairs:
        assert (record[before] < 0).any()
        assert torch.equal(record[before].relu(), record[after])
    backward(outs)


def test_a_preactivation_block_keeps_its_input_and_projects_what_it_activates():
    x = torch.randn(2, 4, 6, 6)
    same, wider = PreActBlock([4, 4, 4], (3, 3)), PreActBlock([4, 8, 8], (3, 3), stride=2)
    for block in (same, wider):
        nn.init.zeros_(block.residual.conv2.weight)
    assert torch.equal(same(x), x)
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
    activated = ((x - mean) / (var + 1e-5).sqrt()).relu()
    projected = torch.einsum('oi,nihw->nohw', wider.shortcut.weight[..., 0, 0], activated)
    torch.testing.assert_close(wider(x), projected[..., ::2, ::2])


def test_a_bare_stem_hands_on_what_is_below_zero():
    cfg = dict(depth=18, out_indices=(0,), zero_init_residual=False)
    bare, usual = (
        build(dict(type=f'{scope}.{name}', **cfg))
        for scope, name in (('mmkd', 'BareStemResNet'), ('mmpretrain', 'ResNet_CIFAR'))
    )
    usual.load_state_dict(bare.state_dict())
    for network in (bare, usual):
        network.eval()
    norm = bare.norm1(bare.conv1(images()))
    assert (norm < 0).any()
    torch.testing.assert_close(bare(images())[0], bare.layer1(norm))
    torch.testing.assert_close(usual(images())[0], bare.layer1(norm.relu()))


def test_dropout_of_a_wide_resnet_acts_only_in_training():
    model = network('WideResNet')
    assert count(model) == count(network('WideResNet', dropout=0.0))
    model.eval()
    assert torch.equal(model(images())[-1], model(images())[-1])
    model.train()
    assert not torch.equal(model(images())[-1], model(images())[-1])


def test_the_shuffle_lets_every_group_see_every_group():
    unit = ShuffleUnit(36, 36, groups=3, first=False, stride=1).eval()
    x = torch.randn(2, 36, 4, 4, requires_grad=True)
    for group in range(3):
        (gradient,) = torch.autograd.grad(unit(x)[:, 12 * group : 12 * group + 12].sum(), x)
        assert all(part.any() for part in gradient.split(12, dim=1))


@pytest.mark.parametrize(('channels', 'stride'), [(24, 1), (16, 2)])
def test_a_shuffle_unit_gives_and_learns_what_mmpretrains_does_with_one_relu(channels, stride):
    theirs, ours = InvertedResidual(channels, 24, stride), ShuffleUnitV2(channels, 24, stride)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, channels, 8, 8).double()
    found = []
    for unit in (theirs.double(), ours.double()):
        x = images.clone().requires_grad_()
        out = unit(x.relu())
        out.square().sum().backward()
        found.append((out, x.grad, *(p.grad for p in unit.parameters())))
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected)


def test_the_map_before_the_relu_of_a_shuffle_unit_starts_with_what_it_keeps():
    unit = ShuffleUnitV2(24, 24)
    x = torch.randn(2, 24, 8, 8).relu()
    with Taps(unit, ['relu:input', 'branch2.2.bn']) as record:
        unit(x)
    expected = torch.cat([x[:, :12], record['branch2.2.bn']], dim=1)
    assert torch.equal(record['relu:input'], expected)
    assert (expected < 0).any()


def test_a_dense_stage_passes_on_every_earlier_map():
    model = network('CIFARDenseNet')
    with Taps(model, ['stem', 'layer1.dense1', 'layer1']) as record:
        model(images())
    assert torch.equal(record['layer1'][:, :16], record['stem'])
    assert torch.equal(record['layer1'][:, :28], record['layer1.dense1'])


def test_msdnet_drops_the_finest_scale_after_each_third():
    model = network('MSDNet').eval()
    with Taps(model, ['layer1', 'layer2', 'layer3', 'layer4']) as record:
        model(images())
    found = [shapes(record[f'layer{i}']) for i in (1, 2, 3, 4)]
    assert found == [
        [(40, 32), (80, 16), (160, 8)],
        [(58, 16), (116, 8)],
        [(82, 16), (164, 8)],
        [(116, 8)],
    ]


def test_msdnet_builds_only_the_exits_it_returns():
    model = network('MSDNet', out_indices=(3,))
    assert [k for k, _ in model.named_children() if k.startswith('exit')] == ['exit4']
    assert shapes(model(images())) == [(128, 2)]


# Channels and side of every stage's map, for images of 32x32 ('cifar') or 224x224.
STAGES = {
    'resnet20_cifar': [(16, 32), (32, 16), (64, 8)],
    'resnet8x4_cifar': [(64, 32), (128, 16), (256, 8)],
    'wrn_28_10_cifar': [(160, 32), (320, 16), (640, 8), (640, 8)],
    'densenet40_12_cifar': [(160, 32), (304, 16), (448, 8), (448, 8)],
    'mobilenet_v2_cifar': [
        *[(16, 32), (24, 32), (32, 16), (64, 8), (96, 8), (160, 4), (320, 4), (1280, 4)],
    ],
    'resnet18_cifar': [(64, 32), (128, 16), (256, 8), (512, 4)],
    'resnet34_cifar': [(64, 32), (128, 16), (256, 8), (512, 4)],
    'resnet50_cifar': [(256, 32), (512, 16), (1024, 8), (2048, 4)],
    'resnet18_imagenet': [(64, 56), (128, 28), (256, 14), (512, 7)],
    'resnet34_imagenet': [(64, 56), (128, 28), (256, 14), (512, 7)],
    'resnet50_imagenet': [(256, 56), (512, 28), (1024, 14), (2048, 7)],
    'resnet50_half': [(128, 56), (256, 28), (512, 14), (1024, 7)],
    'mobilenet_v1': [(64, 112), (128, 56), (256, 28), (512, 14), (1024, 7)],
    'mobilenet_v2_dcm_imagenet': [
        *[(16, 112), (24, 56), (32, 28), (64, 14), (96, 14), (160, 7), (320, 7), (1280, 7)],
    ],
}


@pytest.mark.parametrize('name', STAGES)
def test_configured_networks_have_the_papers_stages(name):
    cfg = classifier(name).backbone
    cfg.out_indices = range(len(STAGES[name]))
    side = 32 if 'cifar' in name else 224
    outs = build(cfg).to('meta')(torch.zeros(2, 3, side, side, device='meta'))
    assert shapes(outs) == STAGES[name]


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(type='CIFARResNet', depth=18), 'depth=18; expected 6n'),
        (dict(type='PreActResNet', depth=110 + 1), 'depth=111; expected 9n'),
        (dict(type='WideResNet', depth=20), 'depth=20; expected 6n'),
        (dict(type='CIFARVGG', depth=9), r'depth=9; expected one of \[8'),
        (dict(type='CIFARDenseNet', depth=41), 'depth=41; expected 3n'),
        (dict(type='MobileNetV1', strides=(1, 2)), r'strides=\(1, 2\); expected 5'),
        (dict(type='MSDNet', num_exits=0), 'num_exits=0; expected at least 1'),
        (dict(type='CIFARVGG', depth=8, out_indices=(5,)), r'out_indices=\(5,\); .* -5 to 4'),
        (dict(type='CIFARResNet', depth=8, out_indices=(3,)), r'out_indices=\(3,\); .* 0 to 2'),
        (dict(type='CIFARResNet', depth=8, out_indices=(-1,)), r'out_indices=\(-1,\); .* 0 to 2'),
        (dict(type='CIFAREfficientNet', out_indices=(5,)), r'out_indices=\(5,\); .* 0 to 4'),
        (dict(type='CIFARVGG', depth=8, out_indices=()), r'out_indices=\(\)'),
        (dict(type='CIFARResNet', depth=8, out_indices=()), r'out_indices=\(\)'),
        (dict(type='CIFAREfficientNet', out_indices=()), r'out_indices=\(\)'),
        (dict(type='CIFARVGG', depth=8, frozen_stages=6), r'frozen_stages=6; .* 5 \(all\)'),
    ],
)
def test_a_network_that_there_is_not_is_an_error(cfg, message):
    with pytest.raises(ValueError, match=message):
        build({**cfg, 'type': f'mmkd.{cfg["type"]}'})
