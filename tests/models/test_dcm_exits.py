"""The auxiliary classifiers of the DCM configs are those of its supplement, Tables 1-6."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmkd.models import APFCExit, MultiExitClassifier, PreActExit, ResNetExit
from mmkd.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs' / 'dcm'


def row(convs, blocks, stride=2):
    """A cell of a table: kernel and channels of a block's convolutions, number of blocks.

    The first 3x3 convolution of the first block has the stride.
    """
    strided = [kernel for kernel, _ in convs].index(3)
    return [
        (*conv, stride if block == 0 and i == strided else 1)
        for block in range(blocks)
        for i, conv in enumerate(convs)
    ]


def basic(channels, blocks, stride=2):
    return row([(3, channels), (3, channels)], blocks, stride)


def bottleneck(inner, channels, blocks):
    return row([(1, inner), (3, inner), (1, channels)], blocks)


def separable(depthwise, pointwise, blocks, stride):
    return row([(3, depthwise), (1, pointwise)], blocks, stride)


def inverted(source, expansion, channels, blocks, stride):
    rows = []
    for block in range(blocks):
        inner = expansion * source
        rows += row([(1, inner), (3, inner), (1, channels)], 1, 1 if block else stride)
        source = channels
    return rows


def dense(growth_rate, layers):
    return [(3, growth_rate, 1)] * layers


#: Config, index of the network, and the convolutions of C3 and C2.
TABLES = {
    'ResNet-110': (
        'wrn_28_10_resnet110_cifar100',
        1,
        [basic(32, 9) + basic(64, 9), basic(128, 18)],
    ),
    # The channels of Table 1 are those after a block.
    'ResNet-164': (
        'preact_resnet164_preact_resnet164_cifar100',
        0,
        [bottleneck(32, 128, 9) + bottleneck(64, 256, 9), bottleneck(128, 512, 18)],
    ),
    'DenseNet-40-12': (
        'densenet40_12_densenet40_12_cifar100',
        0,
        [dense(12, 12) + dense(12, 6), dense(36, 12)],
    ),
    'WRN-28-4': (
        'wrn_28_10_wrn_28_4_cifar100',
        1,
        [basic(128, 4) + basic(256, 2), basic(512, 4)],
    ),
    'WRN-28-10': (
        'wrn_28_10_wrn_28_10_cifar100',
        0,
        [basic(320, 4) + basic(640, 2), basic(1280, 4)],
    ),
    'WRN-28-10 with C4': (
        'ablation/wrn_28_10_q_c2_c3_c4',
        0,
        [
            basic(160, 4, 1) + basic(320, 2) + basic(640, 2),
            basic(320, 4) + basic(640, 2),
            basic(1280, 4),
        ],
    ),
    'WRN-28-10 narrow': (
        'ablation/wrn_28_10_narrow',
        0,
        [basic(160, 4) + basic(320, 2), basic(640, 4)],
    ),
    'DenseNet-40-12 narrow': (
        'ablation/densenet40_12_narrow',
        0,
        [dense(6, 12) + dense(6, 6), dense(18, 12)],
    ),
    'MobileNet': (
        'wrn_28_10_mobilenet_v1_cifar100',
        1,
        [
            separable(256, 512, 1, 2)
            + separable(512, 512, 5, 1)
            + separable(512, 1024, 1, 2)
            + separable(1024, 1024, 1, 1),
            separable(512, 2048, 1, 2) + separable(2048, 2048, 1, 1),
        ],
    ),
    'ResNet-18': (
        'resnet18_resnet18_imagenet',
        0,
        [basic(256, 1) + basic(512, 2), basic(1024, 2)],
    ),
    'ResNet-18 beside ResNet-50': (
        'resnet50_resnet18_imagenet',
        1,
        [basic(256, 1) + basic(512, 2), basic(1024, 2)],
    ),
    'ResNet-50': (
        'resnet50_resnet18_imagenet',
        0,
        [bottleneck(256, 1024, 3) + bottleneck(512, 2048, 2), bottleneck(1024, 4096, 3)],
    ),
    'MobileNetV2': (
        'mobilenet_v2_mobilenet_v2_imagenet',
        0,
        [
            inverted(96, 6, 160, 3, 2) + inverted(160, 3, 320, 1, 1) + [(1, 1280, 1)],
            inverted(160, 6, 480, 1, 1) + [(1, 1920, 1)],
        ],
    ),
}

# Independent counts of parameters: what the tables add up to, without the modules.


def conv_norm(source, target, kernel, groups=1):
    return source * target * kernel * kernel // groups + 2 * target


def residual(source, rows, convs_per_block, classes):
    """Post-activation blocks, with conv and norm on the shortcut where the shape changes."""
    total = 0
    for i in range(0, len(rows), convs_per_block):
        block, entry = rows[i : i + convs_per_block], source
        for kernel, channels, _ in block:
            total += conv_norm(source, channels, kernel)
            source = channels
        if entry != source or any(stride == 2 for *_, stride in block):
            total += conv_norm(entry, source, 1)
    return total + (source + 1) * classes


def preact(source, rows, convs_per_block, classes):
    """Norm before each convolution and at the end, a convolution on the shortcut."""
    total = 0
    for i in range(0, len(rows), convs_per_block):
        entry = source
        for kernel, channels, _ in rows[i : i + convs_per_block]:
            total += 2 * source + source * channels * kernel**2
            source = channels
        total += entry * source if entry != source else 0
    return total + 2 * source + (source + 1) * classes


def densenet(source, stages, classes):
    total = 0
    for growth_rate, layers in stages:
        total += 2 * source + source * source
        for _ in range(layers):
            total += 2 * source + source * growth_rate * 9
            source += growth_rate
    return total + 2 * source + (source + 1) * classes


def depthwise(source, rows, classes):
    """3x3 convolutions are depthwise."""
    total = 0
    for kernel, channels, _ in rows:
        total += conv_norm(source, channels, kernel, groups=source if kernel == 3 else 1)
        source = channels
    return total + (source + 1) * classes


def table(name):
    return TABLES[name][2]


COUNTS = {
    'ResNet-110': [
        residual(source, rows, 2, 100)
        for source, rows in zip((16, 32), table('ResNet-110'), strict=True)
    ],
    'ResNet-164': [
        preact(source, rows, 3, 100)
        for source, rows in zip((64, 128), table('ResNet-164'), strict=True)
    ],
    'DenseNet-40-12': [
        densenet(160, [(12, 12), (12, 6)], 100),
        densenet(304, [(36, 12)], 100),
    ],
    'WRN-28-4': [
        preact(source, rows, 2, 100)
        for source, rows in zip((64, 128), table('WRN-28-4'), strict=True)
    ],
    'WRN-28-10 with C4': [
        preact(source, rows, 2, 100)
        for source, rows in zip((16, 160, 320), table('WRN-28-10 with C4'), strict=True)
    ],
    'MobileNet': [
        depthwise(source, rows, 100)
        for source, rows in zip((256, 512), table('MobileNet'), strict=True)
    ],
    'ResNet-18': [
        residual(source, rows, 2, 1000)
        for source, rows in zip((128, 256), table('ResNet-18'), strict=True)
    ],
    'ResNet-50': [
        residual(source, rows, 3, 1000)
        for source, rows in zip((512, 1024), table('ResNet-50'), strict=True)
    ],
    'MobileNetV2': [
        depthwise(source, rows, 1000)
        for source, rows in zip((96, 160), table('MobileNetV2'), strict=True)
    ],
}


def network_cfg(name):
    config, index, _ = TABLES[name]
    return Config.fromfile(CONFIGS / f'{config}.py').model.networks[index]


def build_exits(name):
    """The exits alone, without memory."""
    cfg = network_cfg(name)
    classes = cfg.model.head.num_classes
    with torch.device('meta'):
        return [
            MODELS.build({k: v for k, v in aux.items() if k != 'tap'} | dict(num_classes=classes))
            for aux in cfg.exits
        ]


@pytest.mark.parametrize('name', TABLES)
def test_blocks_channels_and_strides_are_the_supplements(name):
    found = [
        [
            (conv.kernel_size[0], conv.out_channels, conv.stride[0])
            for path, conv in aux.layers.named_modules()
            if isinstance(conv, nn.Conv2d)
            # A DenseNet's transitions are not in its table.
            and not {'shortcut', 'downsample'} & set(path.split('.'))
            and not ('DenseNet' in name and conv.kernel_size == (1, 1))
        ]
        for aux in build_exits(name)
    ]
    assert found == table(name)


@pytest.mark.parametrize('name', COUNTS)
def test_parameters_are_what_the_supplements_rows_add_up_to(name):
    found = [sum(p.numel() for p in aux.parameters()) for aux in build_exits(name)]
    assert found == COUNTS[name]


@pytest.mark.parametrize('name', sorted(path.name for path in CONFIGS.glob('*.py')))
def test_a_config_is_the_dml_config_of_the_same_name_with_exits(name):
    dcm, dml = (Config.fromfile(folder / name) for folder in (CONFIGS, CONFIGS.parent / 'dml'))
    assert [len(network.pop('exits')) for network in dcm.model.networks] == [2, 2]
    assert dcm.to_dict() == dml.to_dict()


@pytest.mark.parametrize('name', TABLES)
def test_every_path_has_the_same_down_sampling(name):
    cfg = network_cfg(name)
    # mmpretrain's ResNet cannot be built without memory.
    device = 'cpu' if cfg.model.backbone.type in ('mmkd.CIFARResNet', 'ResNet') else 'meta'
    with DefaultScope.overwrite_default_scope('mmpretrain'), torch.device(device), torch.no_grad():
        network = MultiExitClassifier(**cfg).eval()
        features = network.outputs(torch.zeros(1, *network.input_shape)).features
    sizes = {tuple(feature.shape[2:]) for feature in features}
    assert sizes == {(8, 8) if network.input_shape[1] == 32 else (2, 2)}
    assert len(features) == len(table(name)) + 1


@pytest.mark.parametrize('config', ['wrn_28_10_apfc', 'densenet40_12_apfc'])
def test_apfc_pools_to_4x4(config):
    for aux in Config.fromfile(CONFIGS / 'ablation' / f'{config}.py').model.networks[0].exits:
        exit_ = APFCExit(aux.in_channels, 100)
        x = torch.randn(2, aux.in_channels, 16, 16)
        _, logits = exit_(x)
        pooled = F.avg_pool2d(x, 4).flatten(1)
        assert torch.allclose(logits, pooled @ exit_.fc.weight.T + exit_.fc.bias, atol=1e-5)


def test_dropout_reaches_every_block():
    exits = Config.fromfile(CONFIGS / 'wrn_28_10_dropout_wrn_28_10_dropout_cifar100.py')
    for network in exits.model.networks:
        assert network.model.backbone.dropout == 0.3
        for aux in network.exits:
            with torch.device('meta'):
                layers = PreActExit(
                    aux.in_channels, 100, aux.stages, dropout=aux.dropout
                ).layers.modules()
            rates = [layer.p for layer in layers if isinstance(layer, nn.Dropout)]
            assert rates == [0.3] * sum(blocks for _, blocks, _ in aux.stages)


def test_exits_start_as_the_networks_do():
    torch.manual_seed(0)
    aux = ResNetExit(16, 100, [(32, 1, 2)])
    aux.init_weights()
    conv = aux.layers[0][0].conv2.weight
    assert conv.std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.05)
    assert aux.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize('stages', [[], [(32, 1)], [32, 1, 2]])
def test_a_row_that_cannot_be_read_is_an_error(stages):
    with pytest.raises(ValueError, match=r'ResNetExit: stages=.*\(channels, blocks, stride\)'):
        ResNetExit(16, 100, stages)
