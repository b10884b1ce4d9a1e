"""The networks are those of the papers, and every one can be frozen, tapped and exported."""

import re
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.models.backbones import ShuffleNetV2
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import mmkd.models  # noqa: F401
from mmkd.models.backbones.preact_resnet import PreActBlock
from mmkd.registry import MODELS
from mmkd.taps import Taps

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'


def build(cfg):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfg)


def count(module):
    return sum(p.numel() for p in module.parameters())


# Independent counts: what the papers' tables add up to, without the modules.


def conv(source, target, kernel=3, groups=1):
    return source * target * kernel * kernel // groups


def norm(channels):
    return 2 * channels


def conv_norm(source, target, kernel=3, groups=1):
    return conv(source, target, kernel, groups) + norm(target)


def linear(channels, classes=100):
    return channels * classes + classes


def resnet(depth, stem=16, base=16):
    total, source = conv_norm(3, stem), stem
    for width in (base, 2 * base, 4 * base):
        for _ in range((depth - 2) // 6):
            total += conv_norm(source, width) + conv_norm(width, width)
            total += conv_norm(source, width, 1) if source != width else 0
            source = width
    return total + linear(source)


def wrn(depth, k):
    total, source = conv(3, 16), 16
    for width in (16 * k, 32 * k, 64 * k):
        for _ in range((depth - 4) // 6):
            total += norm(source) + conv(source, width) + norm(width) + conv(width, width)
            total += conv(source, width, 1) if source != width else 0
            source = width
    return total + norm(source) + linear(source)


def preact_resnet(depth):
    total, source = conv(3, 16), 16
    for width in (16, 32, 64):
        for _ in range((depth - 2) // 9):
            total += norm(source) + conv_norm(source, width, 1) + conv_norm(width, width)
            total += conv(width, 4 * width, 1)
            total += conv(source, 4 * width, 1) if source != 4 * width else 0
            source = 4 * width
    return total + norm(source) + linear(source)


def vgg(*widths):
    pairs = pairwise((3, *widths))
    return sum(conv_norm(a, b) + b for a, b in pairs) + linear(widths[-1])


def vgg_of(*repeats):
    return vgg(
        *(w for w, n in zip((64, 128, 256, 512, 512), repeats, strict=True) for _ in range(n))
    )


def mobilenet_v1(classes):
    widths = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    total = conv_norm(3, 32)
    for a, b in pairwise(widths):
        total += conv_norm(a, a, groups=a) + conv_norm(a, b, 1)
    return total + linear(1024, classes)


def mobilenet_v2(factor):
    source = int(32 * factor)
    total = conv_norm(3, source)
    for t, c, n in (
        (1, 16, 1),
        (6, 24, 2),
        (6, 32, 3),
        (6, 64, 4),
        (6, 96, 3),
        (6, 160, 3),
        (6, 320, 1),
    ):
        for _ in range(n):
            inner, width = t * source, int(c * factor)
            total += conv_norm(source, inner, 1) + conv_norm(inner, inner, groups=inner)
            total += conv_norm(inner, width, 1)
            source = width
    return total + conv_norm(source, 1280, 1) + linear(1280)


def shufflenet_v1():
    total, source = conv_norm(3, 24, 1), 24
    for width, n in ((240, 4), (480, 8), (960, 4)):
        for block in range(n):
            branch = width - source if block == 0 else width
            inner = branch // 4
            total += conv_norm(source, inner, 1, groups=1 if source == 24 else 3)
            total += conv_norm(inner, inner, groups=inner) + conv_norm(inner, branch, 1, groups=3)
            source = width
    return total + linear(source)


def shufflenet_v2():
    """mmpretrain's ImageNet network with a 1x1 instead of a 3x3 stem."""
    return count(ShuffleNetV2()) - conv(3, 24, 3) + conv(3, 24, 1) + linear(1024)


def densenet(depth, k):
    total, channels = conv(3, 16), 16
    for stage in range(3):
        total += norm(channels) + conv(channels, channels, 1) if stage else 0
        for _ in range((depth - 4) // 3):
            total += norm(channels) + conv(channels, k)
            channels += k
    return total + norm(channels) + linear(channels)


def efficientnet_b0():
    """torchvision's network without its last convolution; strides have no parameters."""
    return count(torchvision.models.efficientnet_b0().features[:-1]) + linear(320)


def msdnet():
    """The ten layers of four exits: width, scales of the input, scales of the output."""
    layers = [(16 + 6 * i, (0, 1, 2), (0, 1, 2)) for i in range(4)]
    layers += [(40, (0, 1, 2), (1, 2)), *((w, (1, 2), (1, 2)) for w in (23, 29, 35))]
    layers += [(41, (1, 2), (2,)), (23, (2,), (2,))]
    factor = (1, 2, 4)

    def bottleneck(source, target, scale):
        inner = min(source, factor[scale] * target)
        return conv_norm(source, inner, 1) + conv_norm(inner, target)

    total = conv_norm(3, 16) + conv_norm(16, 32) + conv_norm(32, 64)
    for width, scales_in, scales_out in layers:
        for s in scales_out:
            grown = 6 * factor[s]
            if s == scales_in[0]:
                total += bottleneck(width * factor[s], grown, s)
            else:
                total += bottleneck(width * factor[s], grown // 2, s)
                total += bottleneck(width * factor[s - 1], grown // 2, s - 1)
    total += sum(conv_norm(46 * f, 23 * f, 1) for f in (2, 4)) + conv_norm(47 * 4, 23 * 4, 1)
    for width in (40, 29, 41, 29):
        total += conv_norm(4 * width, 128) + conv_norm(128, 128)
    return total + linear(128)


def cifar_stem(name, channels):
    """torchvision's network with a 3x3 instead of a 7x7 stem and 100 classes."""
    body = count(getattr(torchvision.models, name)()) - linear(channels, 1000)
    return body - conv(3, 64, 7) + conv(3, 64, 3) + linear(channels)


def resnet50_half():
    total, source = conv_norm(3, 64, 7), 64
    for width, n in ((32, 3), (64, 4), (128, 6), (256, 3)):
        for block in range(n):
            total += conv_norm(source, width, 1) + conv_norm(width, width)
            total += conv_norm(width, 4 * width, 1)
            total += conv_norm(source, 4 * width, 1) if block == 0 else 0
            source = 4 * width
    return total + linear(source, 1000)


# Published millions of parameters. CRD: the benchmark of Contrastive Representation Distillation,
# as listed with its CIFAR-100 networks; the others are the tables of the networks' own papers.
COUNTS = {
    'resnet8_cifar': (partial(resnet, 8), None),
    'resnet14_cifar': (partial(resnet, 14), None),
    'resnet20_cifar': (partial(resnet, 20), '0.28'),  # CRD
    'resnet32_cifar': (partial(resnet, 32), '0.47'),  # CRD
    'resnet44_cifar': (partial(resnet, 44), None),
    'resnet56_cifar': (partial(resnet, 56), '0.86'),  # CRD
    'resnet110_cifar': (partial(resnet, 110), '1.74'),  # CRD
    'resnet8x4_cifar': (partial(resnet, 8, 32, 64), '1.23'),  # CRD
    'resnet32x4_cifar': (partial(resnet, 32, 32, 64), '7.43'),  # CRD
    'preact_resnet164_cifar': (partial(preact_resnet, 164), '1.7'),  # Huang et al. 2017, Table 2
    'wrn_16_1_cifar': (partial(wrn, 16, 1), None),
    'wrn_16_2_cifar': (partial(wrn, 16, 2), '0.70'),  # CRD
    'wrn_16_4_cifar': (partial(wrn, 16, 4), None),
    'wrn_28_2_cifar': (partial(wrn, 28, 2), None),
    'wrn_28_4_cifar': (partial(wrn, 28, 4), None),
    'wrn_28_10_cifar': (partial(wrn, 28, 10), '36.5'),  # Zagoruyko and Komodakis 2016, Table 5
    'wrn_40_1_cifar': (partial(wrn, 40, 1), '0.57'),  # CRD
    'wrn_40_2_cifar': (partial(wrn, 40, 2), '2.26'),  # CRD
    'vgg8_cifar': (partial(vgg_of, 1, 1, 1, 1, 1), '3.97'),  # CRD
    'vgg11_cifar': (partial(vgg_of, 1, 1, 2, 2, 2), None),
    'vgg13_cifar': (partial(vgg_of, 2, 2, 2, 2, 2), '9.46'),  # CRD
    'vgg16_cifar': (partial(vgg_of, 2, 2, 3, 3, 3), None),
    'vgg19_cifar': (partial(vgg_of, 2, 2, 4, 4, 4), None),
    'mobilenet_v1_cifar': (partial(mobilenet_v1, 100), None),
    'mobilenet_v1': (partial(mobilenet_v1, 1000), '4.2'),  # Howard et al. 2017, Table 8
    'mobilenet_v2_half_cifar': (partial(mobilenet_v2, 0.5), '0.81'),  # CRD
    'mobilenet_v2_cifar': (partial(mobilenet_v2, 1.0), None),
    'shufflenet_v1_cifar': (shufflenet_v1, '0.95'),  # CRD
    'shufflenet_v2_cifar': (shufflenet_v2, '1.36'),  # CRD
    'densenet40_12_cifar': (partial(densenet, 40, 12), None),
    'efficientnet_b0_cifar': (efficientnet_b0, None),
    'msdnet_cifar': (msdnet, None),
    'resnet18_cifar': (partial(cifar_stem, 'resnet18', 512), None),
    'resnet34_cifar': (partial(cifar_stem, 'resnet34', 512), None),
    'resnet50_cifar': (partial(cifar_stem, 'resnet50', 2048), None),
    'resnet50_half': (resnet50_half, None),
}


@pytest.mark.parametrize('name', COUNTS)
def test_parameters_are_those_published_and_logits_fit(name):
    formula, published = COUNTS[name]
    model = build(Config.fromfile(CONFIGS / f'{name}.py').model)
    assert count(model) == formula()
    if published:
        digits = len(published.split('.')[1])
        assert f'{count(model) / 1e6:.{digits}f}' == published
    size, classes = (32, 100) if 'cifar' in name else (224, 1000)
    logits = model.to('meta').eval()(torch.zeros(2, 3, size, size, device='meta'), mode='tensor')
    assert logits.shape == (2, classes)


# One small network of each class: its config, the shape of every output for 32x32 images, how many
# stages to freeze, what that freezes, and pairs of taps: the input of a ReLU and its output.
NETWORKS = {
    'CIFARResNet': (
        dict(depth=14, out_indices=(0, 1, 2)),
        [(16, 32), (32, 16), (64, 8)],
        (1, ('conv1', 'bn1', 'layer1')),
        [('layer1.1.relu:input', 'layer1'), ('layer3.1.relu:input', 'layer3')],
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
        [
            ('layer1.3.branch2.2.activate:input', 'layer1.3.branch2'),
            ('tail.activate:input', 'tail'),
        ],
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


def test_traced_network_gives_the_same_output_on_other_images(name):
    model = network(name)
    model.eval()
    traced = torch.jit.trace(model, torch.zeros(1, 3, 32, 32))
    with torch.no_grad():
        for out, expected in zip(traced(images()), model(images()), strict=True):
            assert torch.equal(out, expected)


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


def test_dropout_of_a_wide_resnet_acts_only_in_training():
    model = network('WideResNet')
    assert count(model) == count(network('WideResNet', dropout=0.0))
    model.eval()
    assert torch.equal(model(images())[-1], model(images())[-1])
    model.train()
    assert not torch.equal(model(images())[-1], model(images())[-1])


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


def test_half_resnet50_and_mobilenet_have_the_strides_of_imagenet():
    for name, channels in (('resnet50_half', 128), ('mobilenet_v1', 64)):
        cfg = Config.fromfile(CONFIGS / f'{name}.py').model.backbone
        cfg.out_indices = (0, 1, 2, 3)
        outs = build(cfg).to('meta')(torch.zeros(1, 3, 224, 224, device='meta'))
        side = 56 if name == 'resnet50_half' else 112
        assert shapes(outs) == [(channels * 2**i, side // 2**i) for i in range(4)]


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
        (dict(type='CIFARVGG', depth=8, out_indices=()), r'out_indices=\(\)'),
        (dict(type='CIFARVGG', depth=8, frozen_stages=6), r'frozen_stages=6; .* 5 \(all\)'),
    ],
)
def test_a_network_that_there_is_not_is_an_error(cfg, message):
    with pytest.raises(ValueError, match=message):
        build({**cfg, 'type': f'mmkd.{cfg["type"]}'})
