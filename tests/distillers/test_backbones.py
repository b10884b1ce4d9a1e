"""Every family of mmpretrain: as peer, with an exit, as student, as teacher, with ECD."""

import copy
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmcv.cnn.bricks.wrappers import Conv2d
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from torch import nn

from mmkd.distillers import (
    ConnectionDistiller,
    MultiExitDistiller,
    MutualDistiller,
    OfflineDistiller,
)
from mmkd.registry import MODELS

CONFIGS = Path(mmpretrain.__file__).parent / '.mim/configs'
PREPROCESSOR = dict(num_classes=5, mean=[100.0] * 3, std=[50.0] * 3, to_rgb=True)


def family(config, tap, channels, pool=None, size=64, told=True, head=None, **backbone):
    """A row: a config, where its exit starts, and how it becomes small.

    Args:
        config (str): The file, without its ending.
        tap (str): Where the exit starts.
        channels (int): Channels there.
        pool (str, optional): Of a TokenExit; a map has a LinearExit.
        size (int): Side of the images.
        told (bool): Whether the model says so; else `input_shape` does.
        head (dict, optional): Changes of the head.
        backbone: Changes of the backbone.
    """
    exit_ = dict(tap=tap, in_channels=channels, num_classes=5, type='mmkd.LinearExit')
    if pool is not None:
        exit_ |= dict(type='mmkd.TokenExit', pool=pool)
    given = {} if told else dict(input_shape=(3, size, size))
    return pytest.param(
        config, exit_, size, given, head or {}, backbone, id=config, marks=pytest.mark.full
    )


def quick(row):
    return pytest.param(*row.values, id=row.id)


ROWS = [
    family('convmixer/convmixer-768-32_10xb64_in1k', 'backbone.stages.9', 768),
    quick(
        family(
            'convnext/convnext-tiny_32xb128_in1k',
            'backbone.stages.1',
            16,
            arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 32, 768]),
        )
    ),
    family('convnext_v2/convnext-v2-atto_32xb32_in1k', 'backbone.stages.1', 80),
    family('cspnet/cspdarknet50_8xb32_in1k', 'backbone.stages.1', 128),
    family('davit/davit-tiny_4xb256_in1k', 'backbone.stages.1[0]', 192, 'mean', 224, told=False),
    quick(family('deit/deit-tiny_4xb256_in1k', 'backbone.layers.5', 192, 'cls', 32, img_size=32)),
    family(
        'deit/deit-tiny-distilled_4xb256_in1k', 'backbone.layers.5', 192, 'cls', 32, img_size=32
    ),
    family('deit3/deit3-small-p16_64xb64_in1k', 'backbone.layers.5', 384, 'cls', 32, img_size=32),
    family('densenet/densenet121_4xb256_in1k', 'backbone.transitions.0', 128),
    family('edgenext/edgenext-xxsmall_8xb256_in1k', 'backbone.stages.1', 48),
    family(
        'efficientformer/efficientformer-l1_8xb128_in1k',
        'backbone.network.1',
        96,
        None,
        224,
        told=False,
        head=dict(distillation=False),
    ),
    family('efficientnet/efficientnet-b0_8xb32_in1k', 'backbone.layers.3', 40),
    family('efficientnet_v2/efficientnetv2-b0_8xb32_in1k', 'backbone.layers.3', 48),
    family('eva02/eva02-tiny-p14_in1k', 'backbone.layers.5', 192, 'cls', 28, img_size=28),
    family('hivit/hivit-tiny-p16_16xb64_in1k', 'backbone.blocks.10', 384, 'mean', 224),
    family('hornet/hornet-tiny_8xb128_in1k', 'backbone.stages.1', 128),
    family('hrnet/hrnet-w18_4xb32_in1k', 'backbone.layer1', 256),
    family(
        'inception_v3/inception-v3_8xb32_in1k',
        'backbone.Mixed_5d',
        288,
        None,
        224,
        told=False,
        num_classes=5,
    ),
    family(
        'levit/levit-128s_8xb256_in1k',
        'backbone.stages.1',
        256,
        'mean',
        224,
        head=dict(distillation=False),
    ),
    family(
        'mlp_mixer/mlp-mixer-base-p16_64xb64_in1k',
        'backbone.layers.3',
        768,
        'mean',
        32,
        img_size=32,
    ),
    family('mobilenet_v2/mobilenet-v2_8xb32_in1k', 'backbone.layer3', 32),
    quick(family('mobilenet_v3/mobilenet-v3-small-050_8xb128_in1k', 'backbone.layer5', 24)),
    family('mobileone/mobileone-s0_8xb32_in1k', 'backbone.stage2', 128),
    family('mobilevit/mobilevit-xxsmall_8xb128_in1k', 'backbone.layers.2', 48),
    family('mvit/mvitv2-tiny_8xb256_in1k', 'backbone.blocks.3[0]', 384, 'mean', 64, img_size=64),
    family('poolformer/poolformer-s12_32xb128_in1k', 'backbone.network.2', 128),
    family('regnet/regnetx-400mf_8xb128_in1k', 'backbone.layer2', 64),
    family('repmlp/repmlp-base_8xb64_in1k', 'backbone.stages.1', 192, None, 224),
    family('repvgg/repvgg-A0_8xb32_in1k', 'backbone.stage_2', 96),
    family('res2net/res2net50-w14-s8_8xb32_in1k', 'backbone.layer2', 512),
    family('resnest/resnest50_32xb64_in1k', 'backbone.layer2', 512),
    quick(family('resnet/resnet18_8xb32_in1k', 'backbone.layer2', 128)),
    family('resnext/resnext50-32x4d_8xb32_in1k', 'backbone.layer2', 512),
    family('revvit/revvit-small_8xb256_in1k', 'backbone.layers.3[0]', 384, 'mean', 32, img_size=32),
    family('riformer/riformer-s12_8xb128_in1k', 'backbone.network.2', 128),
    family('seresnet/seresnet50_8xb32_in1k', 'backbone.layer2', 512),
    family('shufflenet_v1/shufflenet-v1-1x_16xb64_in1k', 'backbone.layers.0', 240),
    family('shufflenet_v2/shufflenet-v2-1x_16xb64_in1k', 'backbone.layers.0', 116),
    quick(
        family(
            'swin_transformer/swin-tiny_16xb64_in1k',
            'backbone.stages.1[0]',
            24,
            'mean',
            64,
            head=dict(in_channels=96),
            img_size=64,
            window_size=2,
            arch=dict(embed_dims=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1]),
        )
    ),
    family(
        'swin_transformer_v2/swinv2-tiny-w8_16xb64_in1k-256px',
        'backbone.stages.1[0]',
        192,
        'mean',
        64,
        img_size=64,
        window_size=[2, 2, 2, 2],
    ),
    family('t2t_vit/t2t-vit-t-14_8xb64_in1k', 'backbone.encoder.5', 384, 'cls', 224),
    family('tinyvit/tinyvit-5m_8xb256_in1k', 'backbone.stages.1', 160, 'mean', 224),
    family(
        'tnt/tnt-s-p16_16xb64_in1k', 'backbone.layers.5.projection', 384, 'mean', 32, img_size=32
    ),
    family('twins/twins-pcpvt-small_8xb128_in1k', 'backbone.norm_after_stage1', 128, 'mean'),
    family('van/van-tiny_8xb128_in1k', 'backbone.blocks2.1', 64),
    family(
        'vgg/vgg11bn_8xb32_in1k', 'backbone.features.9', 512, None, 224, told=False, num_classes=5
    ),
    family('vig/vig-tiny_8xb128_in1k', 'backbone.blocks.5', 192, None, 224, told=False),
    family(
        'vision_transformer/vit-base-p32_64xb64_in1k',
        'backbone.layers.5',
        768,
        'cls',
        64,
        img_size=64,
    ),
    family('wrn/wide-resnet50_8xb32_in1k', 'backbone.layer2', 512),
    family(
        'xcit/xcit-nano-12-p16_8xb128_in1k', 'backbone.xca_layers.5', 128, 'mean', 32, img_size=32
    ),
]

#: Folders without a row, and why.
NO_CLASSIFIER = 'pre-training or a multimodal task, with no classifier of its own'
WITHOUT = {
    **dict.fromkeys(
        [
            'barlowtwins',
            'beit',
            'beitv2',
            'blip',
            'blip2',
            'byol',
            'cae',
            'chinese_clip',
            'densecl',
            'flamingo',
            'glip',
            'itpn',
            'llava',
            'mae',
            'maskfeat',
            'mff',
            'milan',
            'minigpt4',
            'mixmim',
            'mocov2',
            'mocov3',
            'ofa',
            'otter',
            'simclr',
            'simmim',
            'simsiam',
            'spark',
            'swav',
        ],
        NO_CLASSIFIER,
    ),
    **dict.fromkeys(['dinov2', 'sam'], 'backbones without a head'),
    'arcface': 'refused, see below',
    'conformer': 'refused, see below',
    'csra': 'refused, see below',
    'clip': 'the vision transformer',
    'eva': 'a vision transformer of 300 million parameters and more',
    'lenet': 'images of one channel; its head is that of vgg',
    'replknet': 'MMEngine cannot read its config, whose base imports a package',
}


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture
def small(classifier):
    return classifier


def read(config, head=None, backbone=None):
    cfg = Config.fromfile(CONFIGS / f'{config}.py').model
    cfg.data_preprocessor = PREPROCESSOR
    cfg.backbone.update(copy.deepcopy(backbone or {}))
    cfg.backbone.pop('init_cfg', None)
    if 'num_classes' in cfg.head:
        cfg.head.num_classes = 5
    if 'num_classes' in cfg.head.get('loss', {}):
        cfg.head.loss.num_classes = 5
    cfg.head.update(head or {})
    return ConfigDict({'_scope_': 'mmpretrain', **cfg})


def step(distiller, image_batch, size):
    """One forward and backward of a batch."""
    data = distiller.data_preprocessor(image_batch(4, size), training=True)
    loss, terms = distiller.parse_losses(distiller(**data, mode='loss'))
    assert all(torch.isfinite(value).all() for value in terms.values()), terms
    loss.backward()
    return terms


def taught(module):
    """How many parameters have a gradient."""
    return sum(p.grad is not None and bool(p.grad.any()) for p in module.parameters())


each_family = pytest.mark.parametrize(
    ('config', 'exit_', 'size', 'given', 'head', 'backbone'), ROWS
)


@each_family
def test_as_peers(config, exit_, size, given, head, backbone, small, image_batch):
    networks = [dict(model=read(config, head, backbone), **given), dict(model=small)]
    distiller = MutualDistiller(networks, dict(type='mmkd.DCMLoss'))
    terms = step(distiller, image_batch, size)
    assert terms['loss_net1_same_stage'] > 0
    for network in distiller.networks:
        assert taught(network.model.backbone)


@each_family
def test_with_an_exit(config, exit_, size, given, head, backbone, image_batch):
    student = dict(
        type='mmkd.MultiExitClassifier', model=read(config, head, backbone), exits=[exit_], **given
    )
    distiller = MultiExitDistiller(student, dict(type='mmkd.ExitCELoss'))
    step(distiller, image_batch, size)
    assert taught(distiller.student.exits[0])
    assert taught(distiller.student.model)
    assert distiller.student.input_shape == (3, size, size)


KD = dict(kd=dict(type='mmkd.KLDivergenceLoss', student='head', teacher='head', tau=4.0))


@each_family
def test_as_student(config, exit_, size, given, head, backbone, small, save_teacher, image_batch):
    model = read(config, head, backbone)
    distiller = OfflineDistiller(model, KD, save_teacher(small), **given)
    assert step(distiller, image_batch, size)['loss_kd'] > 0
    assert taught(distiller.student.backbone)


@each_family
def test_as_teacher(config, exit_, size, given, head, backbone, small, save_teacher, image_batch):
    teacher = save_teacher(read(config, head, backbone))
    distiller = OfflineDistiller(small, KD, teacher, **given)
    assert step(distiller, image_batch, size)['loss_kd'] > 0
    assert taught(distiller.student.backbone)


@each_family
def test_with_a_generated_teacher(config, exit_, size, given, head, backbone, image_batch):
    model = read(config, head, backbone)
    convs = [
        name
        for name, module in MODELS.build(model).named_modules()
        if type(module) in (nn.Conv2d, Conv2d) and module.kernel_size == (3, 3)
    ]
    generator = dict(type='mmkd.DynamicAdditiveConv2d', num_kernels=2)
    if not convs:
        with pytest.raises(ValueError, match='3x3'):
            ConnectionDistiller(model, dict(generator, convs='*'), **given)
        return
    distiller = ConnectionDistiller(model, dict(generator, convs=convs[-1]), **given)
    step(distiller, image_batch, size)
    assert taught(distiller.student.backbone)
    assert taught(distiller.teacher)


def test_every_folder_has_a_row_or_a_reason():
    folders = {path.name for path in CONFIGS.iterdir() if path.is_dir()} - {'_base_'}
    assert {row.values[0].partition('/')[0] for row in ROWS} == folders - WITHOUT.keys()
    assert WITHOUT.keys() <= folders


@pytest.mark.parametrize(
    ('config', 'said'),
    [
        ('arcface/resnet50-arcface_8xb32_inshop', 'model.head is a ArcFaceClsHead'),
        ('csra/resnet101-csra_1xb16_voc07-448px', 'model.head is a CSRAClsHead'),
        (
            'efficientformer/efficientformer-l1_8xb128_in1k',
            'model.head is a EfficientFormerCls',
        ),
        ('conformer/conformer-tiny-p16_8xb128_in1k', 'main gives a tuple where logits'),
    ],
)
def test_what_does_not_classify_alike_is_refused(config, said, small):
    cfg = Config.fromfile(CONFIGS / f'{config}.py').model
    cfg.data_preprocessor = small.data_preprocessor
    cfg['_scope_'] = 'mmpretrain'
    with pytest.raises(ValueError, match=rf'model.networks\[0\]: {said}'):
        MutualDistiller([dict(model=cfg), dict(model=small)], dict(type='mmkd.DCMLoss'))


def test_an_image_too_small_for_a_network_is_named(small):
    networks = [dict(model=read('vgg/vgg11bn_8xb32_in1k', None, dict(num_classes=5)))]
    with pytest.raises(ValueError, match=r'networks\[0\]: .*\(3, 64, 64\) failed.*set input_shape'):
        MutualDistiller([*networks, dict(model=small)], dict(type='mmkd.DCMLoss'))
