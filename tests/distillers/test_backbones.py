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


def family(config, tap, channels, pool=None, size=64, head=None, **backbone):
    """A row: a config, where its exit starts, and how it becomes small.

    Args:
        config (str): The file, without its ending.
        tap (str): Where the exit starts.
        channels (int): Channels there.
        pool (str, optional): Of a TokenExit; a map has a LinearExit.
        size (int): Side of the images, and of the dummy image.
        head (dict, optional): Changes of the head.
        backbone: Changes of the backbone.
    """
    exit_ = dict(tap=tap, in_channels=channels, num_classes=5, type='mmkd.LinearExit')
    if pool is not None:
        exit_ |= dict(type='mmkd.TokenExit', pool=pool)
    return pytest.param(
        config, exit_, size, head or {}, backbone, id=config, marks=pytest.mark.full
    )


def quick(row):
    return pytest.param(*row.values, id=row.id)


ROWS = [
    family(
        'beit/benchmarks/beit-base-p16_8xb128-coslr-100e_in1k',
        'backbone.layers.5',
        768,
        'cls',
        32,
        img_size=32,
    ),
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
    family('davit/davit-tiny_4xb256_in1k', 'backbone.stages.1[0]', 192, 'mean', 224),
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
        'mixmim/benchmarks/mixmim-base_8xb128-coslr-100e_in1k',
        'backbone.layers.1',
        64,
        'mean',
        64,
        head=dict(in_channels=128),
        img_size=64,
        window_size=[2, 2, 2, 2],
        arch=dict(embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1]),
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
    family(
        'mocov3/benchmarks/vit-small-p16_8xb128-linear-coslr-90e_in1k',
        'backbone.layers.5',
        384,
        'cls',
        32,
        img_size=32,
        frozen_stages=-1,
    ),
    family('mvit/mvitv2-tiny_8xb256_in1k', 'backbone.blocks.3[0]', 384, 'mean', 64, img_size=64),
    family('poolformer/poolformer-s12_32xb128_in1k', 'backbone.network.2', 128),
    family('regnet/regnetx-400mf_8xb128_in1k', 'backbone.layer2', 64),
    family(
        'replknet/replknet-31B_32xb64_in1k',
        'backbone.stages.1',
        16,
        head=dict(in_channels=64),
        arch=dict(
            large_kernel_sizes=[7, 7, 5, 3],
            layers=[1, 1, 1, 1],
            channels=[8, 16, 32, 64],
            small_kernel=3,
            dw_ratio=1,
        ),
    ),
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
    family('vgg/vgg11bn_8xb32_in1k', 'backbone.features.9', 512, None, 224, num_classes=5),
    family('vig/vig-tiny_8xb128_in1k', 'backbone.blocks.5', 192, None, 224),
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

NO_CLASSIFIER = 'no classifier: a backbone without a head, pre-training or a multimodal task'
LIKE_A_ROW = 'classifiers whose backbone is that of a row'
REFUSED = 'refused, see below'
GREY = 'images of one channel'
#: Folders without a row, and why.
WITHOUT = {
    **dict.fromkeys(
        [
            'blip',
            'blip2',
            'chinese_clip',
            'dinov2',
            'flamingo',
            'glip',
            'itpn',
            'llava',
            'minigpt4',
            'ofa',
            'otter',
            'sam',
        ],
        NO_CLASSIFIER,
    ),
    **dict.fromkeys(
        [
            'barlowtwins',
            'beitv2',
            'byol',
            'cae',
            'clip',
            'densecl',
            'eva',
            'mae',
            'maskfeat',
            'mff',
            'milan',
            'mocov2',
            'simclr',
            'simmim',
            'simsiam',
            'spark',
            'swav',
        ],
        LIKE_A_ROW,
    ),
    **dict.fromkeys(['arcface', 'conformer', 'csra'], REFUSED),
    'lenet': GREY,
}


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture(scope='module')
def backbones_of_rows():
    return {fromfile(CONFIGS / f'{row.values[0]}.py').model.backbone.type for row in ROWS}


@pytest.fixture
def small(classifier):
    return classifier


def fromfile(path):
    # RepLKNet's base imports a package, which MMEngine takes for a config of another kind.
    return Config.fromfile(path, lazy_import=False)


def read(config, head=None, backbone=None):
    cfg = fromfile(CONFIGS / f'{config}.py').model
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


each_family = pytest.mark.parametrize(('config', 'exit_', 'size', 'head', 'backbone'), ROWS)


@each_family
def test_as_peers(config, exit_, size, head, backbone, small, image_batch):
    networks = [dict(model=read(config, head, backbone)), dict(model=small)]
    distiller = MutualDistiller(networks, dict(type='mmkd.DCMLoss'))
    terms = step(distiller, image_batch, size)
    assert terms['loss_net1_same_stage'] > 0
    for network in distiller.networks:
        assert taught(network.model.backbone)


@each_family
def test_with_an_exit(config, exit_, size, head, backbone, image_batch):
    student = dict(
        type='mmkd.MultiExitClassifier', model=read(config, head, backbone), exits=[exit_]
    )
    distiller = MultiExitDistiller(student, dict(type='mmkd.ExitCELoss'))
    step(distiller, image_batch, size)
    assert taught(distiller.student.exits[0])
    assert taught(distiller.student.model)
    assert distiller.student.input_shape == (3, size, size)


KD = dict(kd=dict(type='mmkd.KLDivergenceLoss', student='head', teacher='head', tau=4.0))


@each_family
def test_as_student(config, exit_, size, head, backbone, small, save_teacher, image_batch):
    model = read(config, head, backbone)
    distiller = OfflineDistiller(model, KD, save_teacher(small))
    assert step(distiller, image_batch, size)['loss_kd'] > 0
    assert taught(distiller.student.backbone)


@each_family
def test_as_teacher(config, exit_, size, head, backbone, small, save_teacher, image_batch):
    teacher = save_teacher(read(config, head, backbone))
    distiller = OfflineDistiller(small, KD, teacher)
    assert step(distiller, image_batch, size)['loss_kd'] > 0
    assert taught(distiller.student.backbone)


@each_family
def test_with_a_generated_teacher(config, exit_, size, head, backbone, image_batch):
    model = read(config, head, backbone)
    convs = [
        name
        for name, module in MODELS.build(model).named_modules()
        if type(module) in (nn.Conv2d, Conv2d) and module.kernel_size == (3, 3)
    ]
    generator = dict(type='mmkd.DynamicAdditiveConv2d', num_kernels=2)
    if not convs:
        with pytest.raises(ValueError, match='3x3'):
            ConnectionDistiller(model, dict(generator, convs='*'))
        return
    distiller = ConnectionDistiller(model, dict(generator, convs=convs[-1]))
    step(distiller, image_batch, size)
    assert taught(distiller.student.backbone)
    assert taught(distiller.teacher)


def test_every_folder_has_a_row_or_a_reason():
    folders = {path.name for path in CONFIGS.iterdir() if path.is_dir()} - {'_base_'}
    assert {row.values[0].partition('/')[0] for row in ROWS} == folders - WITHOUT.keys()
    assert WITHOUT.keys() <= folders


@pytest.mark.full
@pytest.mark.parametrize('folder', sorted(WITHOUT))
def test_the_reason_of_a_folder_is_true(folder, backbones_of_rows):
    configs = [fromfile(path) for path in (CONFIGS / folder).rglob('*.py')]
    classifiers = [
        cfg for cfg in configs if cfg.model.type == 'ImageClassifier' and cfg.model.get('head')
    ]
    found = {cfg.model.backbone.type for cfg in classifiers}
    assert {
        NO_CLASSIFIER: not found,
        LIKE_A_ROW: found and found <= backbones_of_rows,
        REFUSED: any(config.startswith(f'{folder}/') for config, _ in NOT_ALIKE),
        GREY: all(len(cfg.data_preprocessor.mean) == 1 for cfg in classifiers),
    }[WITHOUT[folder]], found


#: What has no logits to share, and what is said of it.
NOT_ALIKE = [
    ('arcface/resnet50-arcface_8xb32_inshop', 'model.head is a ArcFaceClsHead'),
    ('csra/resnet101-csra_1xb16_voc07-448px', 'model.head is a CSRAClsHead'),
    (
        'conformer/conformer-tiny-p16_8xb128_in1k',
        'model.head, a ConformerHead, gives a tuple where',
    ),
    (
        'efficientformer/efficientformer-l1_8xb128_in1k',
        'EfficientFormerClsHead with distillation=True.*set model.head.distillation=False',
    ),
    (
        'levit/levit-128s_8xb256_in1k',
        'LeViTClsHead with distillation=True.*set model.head.distillation=False',
    ),
    ('dinov2/vit-small-p14_dinov2-pre_headless', 'model, of type ImageClassifier, has no head'),
]


@pytest.mark.parametrize(('config', 'said'), NOT_ALIKE)
def test_what_does_not_classify_alike_is_refused(config, said, small):
    cfg = fromfile(CONFIGS / f'{config}.py').model
    cfg.data_preprocessor = small.data_preprocessor
    cfg['_scope_'] = 'mmpretrain'
    with pytest.raises(ValueError, match=rf'model.networks\[0\]: .*{said}'):
        MutualDistiller([dict(model=cfg), dict(model=small)], dict(type='mmkd.DCMLoss'))


def test_a_head_that_mmpretrain_does_not_train_is_no_student(small, save_teacher):
    student = read('levit/levit-128s_8xb256_in1k')
    with pytest.raises(ValueError, match=r'set model\.student\.head\.distillation=False'):
        OfflineDistiller(student, KD, save_teacher(small))


QUICK = {row.id.partition('/')[0]: row.values for row in ROWS if not row.marks}


def quick_network(name, **exit_changes):
    config, exit_, _, head, backbone = QUICK[name]
    return dict(model=read(config, head, backbone), exits=[{**exit_, **exit_changes}])


def test_a_transformer_and_a_convolutional_network_share_all_their_classifiers(image_batch):
    networks = [quick_network('swin_transformer'), quick_network('resnet')]
    distiller = MutualDistiller(networks, dict(type='mmkd.DCMLoss'))
    terms = step(distiller, image_batch, 64)
    assert terms['loss_net1_cross_stage'] > 0
    assert all(taught(network.exits) for network in distiller.networks)
    distiller.eval()
    data = distiller.data_preprocessor(image_batch(2, 64))
    outputs = distiller(**data, mode='predict')[0].outputs
    assert list(outputs) == ['net1_exit1', 'net1', 'net2_exit1', 'net2', 'ensemble']


def test_an_image_leaves_a_transformer_early(image_batch):
    network = quick_network('deit')
    network = MODELS.build(dict(network, type='mmkd.MultiExitClassifier', threshold=0.0)).eval()
    data = network.data_preprocessor(image_batch(2, 32))
    (sample, _) = network(**data, mode='predict')
    assert sample.exit == 'exit1'
    torch.testing.assert_close(
        sample.outputs['early_exit'], network.scores(data['inputs'])['exit1'][0]
    )


@pytest.mark.parametrize('objective', ['ExitKDLoss', 'BEEDLoss', 'BYOTLoss'])
def test_exits_on_tokens_learn_from_the_feature_of_the_network(objective, image_batch):
    student = quick_network('swin_transformer', channels=[96])
    student |= dict(type='mmkd.MultiExitClassifier', feature_tap='neck')
    distiller = MultiExitDistiller(student, dict(type=f'mmkd.{objective}'))
    assert step(distiller, image_batch, 64)['loss_exit1_feature'] > 0


def test_a_feature_of_two_tokens_is_named(small):
    config = 'deit/deit-tiny-distilled_4xb256_in1k'
    exit_ = dict(tap='backbone.layers.5', in_channels=192, type='mmkd.TokenExit', channels=[192])
    student = dict(type='mmkd.MultiExitClassifier', exits=[exit_])
    student['model'] = read(config, None, dict(img_size=32))
    with pytest.raises(ValueError, match=r"a tuple of 2 .*feature_tap.*'backbone\[0\]\[0\]'"):
        MultiExitDistiller(student, dict(type='mmkd.BYOTLoss'))
    MultiExitDistiller(dict(student, feature_tap='backbone[0][0]'), dict(type='mmkd.BYOTLoss'))


def test_a_class_token_of_a_network_without_one_is_named():
    network = quick_network('swin_transformer')
    for exit_ in network['exits']:
        exit_.pop('pool')
    with pytest.raises(ValueError, match=r"exits\[0\] \(TokenExit\) .*pool='mean'"):
        MODELS.build(dict(network, type='mmkd.MultiExitClassifier'))


@pytest.mark.parametrize('kind', ['LinearExit', 'LCTExit'])
def test_an_exit_for_maps_on_tokens_is_named(kind):
    network = quick_network('deit')
    exit_ = dict(tap='backbone.layers.5', in_channels=192, type=f'mmkd.{kind}')
    network['exits'] = [exit_ | (dict(channels=[192]) if kind == 'LCTExit' else {})]
    with pytest.raises(ValueError, match=rf'exits\[0\] \({kind}\) .*need mmkd.TokenExit'):
        MODELS.build(dict(network, type='mmkd.MultiExitClassifier'))


def test_an_exit_needs_the_number_of_classes_where_the_head_does_not_say_it(small):
    exit_ = dict(tap='backbone.layer1', in_channels=4, type='mmkd.LinearExit')
    network = dict(model=dict(small, head=dict(type='ClsHead')), exits=[exit_])
    with pytest.raises(ValueError, match=r'exits\[0\].num_classes is missing.*a ClsHead'):
        MODELS.build(dict(network, type='mmkd.MultiExitClassifier'))


def test_networks_that_no_image_suits_are_named():
    arch = dict(embed_dims=16, num_layers=1, tokens_mlp_dims=8, channels_mlp_dims=16)
    mixer = dict(img_size=32, arch=arch)
    mixer = read('mlp_mixer/mlp-mixer-base-p16_64xb64_in1k', dict(in_channels=16), mixer)
    networks = [dict(model=mixer), dict(model=quick_network('swin_transformer')['model'])]
    with pytest.raises(ValueError, match=r'networks\[1\]: .*\(3, 32, 32\) failed.*one img_size'):
        MutualDistiller(networks, dict(type='mmkd.DCMLoss'))
