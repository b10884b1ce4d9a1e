"""The networks have as many parameters as the papers' tables give."""

from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.models.backbones import ShuffleNetV2

from mmkd.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'


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


def torchvision_table(weights):
    """What torchvision's table of models says."""
    return torchvision.models.get_weight(f'{weights}.IMAGENET1K_V1').meta['num_params']


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
    'resnet18_imagenet': (partial(torchvision_table, 'ResNet18_Weights'), None),
    'resnet34_imagenet': (partial(torchvision_table, 'ResNet34_Weights'), None),
    'resnet50_imagenet': (partial(torchvision_table, 'ResNet50_Weights'), None),
    'mobilenet_v2_dcm_imagenet': (partial(torchvision_table, 'MobileNet_V2_Weights'), None),
}


@pytest.mark.parametrize('name', COUNTS)
def test_parameters_are_those_published_and_logits_fit(name):
    formula, published = COUNTS[name]
    folder = 'baseline' if name.endswith('_imagenet') else '_base_/models'
    model = build(Config.fromfile(CONFIGS / folder / f'{name}.py').model)
    assert count(model) == formula()
    if published:
        digits = len(published.split('.')[1])
        assert f'{count(model) / 1e6:.{digits}f}' == published
    size, classes = (32, 100) if 'cifar' in name else (224, 1000)
    logits = model.to('meta').eval()(torch.zeros(2, 3, size, size, device='meta'), mode='tensor')
    assert logits.shape == (2, classes)
