"""Networks start as the code of the papers starts them.

The rules were read off the public code named beside each network; the standard deviations that they
imply are held against every convolution and linear layer, and against what the norms start from.
"""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmkd.registry import MODELS

MODEL_FILES = Path(__file__).parents[2] / 'configs/_base_/models'

CRD = 'HobbitLong/RepDistiller@b84f547c5db6a35318d4671d7d5c4de74c822403'
BEED = 'hjdw2/BEED@d6af14946647ddcef740e28d3785b96ebd30f325'
MSDNET = 'kalviny/MSDNet-PyTorch@f654595270cef1f7555a82af41c38d6f581e7e16'
REVIEW = 'dvlab-research/ReviewKD@cede6ea6387ae9b6127de0e561507177bf19c11e'
TORCHVISION = 'torchvision, models/resnet.py'


def he(weight):
    """Normal with the number of outputs."""
    return (2 / (weight[0, 0].numel() * len(weight))) ** 0.5


def torchs(weight):
    """Uniform in plus and minus one over the root of the number of inputs."""
    return (1 / (3 * weight[0].numel())) ** 0.5


def hundredth(weight):
    return 0.01


# Convolutions, linear layers, whether the bias of the linear layer starts at 0, source.
CRD_RESNET = (he, torchs, False, CRD)
CRD_WRN = (he, torchs, True, CRD)
CRD_SHUFFLE = (torchs, torchs, False, CRD)
CRD_OTHER = (he, hundredth, True, CRD)
RULES = {
    **{f'resnet{d}_cifar': CRD_RESNET for d in (8, 14, 20, 32, 44, 56, 110)},
    **{f'resnet{d}x4_cifar': CRD_RESNET for d in (8, 32)},
    **{f'wrn_{d}_{k}_cifar': CRD_WRN for d, k in ((16, 1), (16, 2), (40, 1), (40, 2))},
    **{f'vgg{d}_cifar': CRD_OTHER for d in (8, 11, 13, 16, 19)},
    'mobilenet_v2_half_cifar': CRD_OTHER,
    'resnet50_cifar': CRD_RESNET,
    'shufflenet_v1_cifar': CRD_SHUFFLE,
    'shufflenet_v2_cifar': CRD_SHUFFLE,
    'resnet18_cifar': (he, torchs, False, BEED),
    'resnet34_cifar': (he, torchs, False, BEED),
    'msdnet_cifar': (he, torchs, True, MSDNET),
    'mobilenet_v1': (torchs, torchs, False, REVIEW),
    **{f'resnet{d}': (he, torchs, False, TORCHVISION) for d in (18, 34, 50)},
    # Their papers' code is not public or says nothing of its own; as the networks of their kind.
    **{f'wrn_{d}_{k}_cifar': CRD_WRN for d, k in ((16, 4), (28, 2), (28, 4), (28, 10))},
    'resnet50_half': (he, torchs, False, TORCHVISION),
    'densenet40_12_cifar': (he, hundredth, True, None),
    'efficientnet_b0_cifar': (he, hundredth, True, None),
    'mobilenet_v1_cifar': (he, hundredth, True, None),
    'mobilenet_v2_cifar': (he, hundredth, True, None),
    'preact_resnet164_cifar': (he, hundredth, True, None),
}

#: As mmpretrain has them: its config without mixed labels, which are a matter of the schedule.
MMPRETRAIN = {'deit_tiny': 'mmpretrain::deit/deit-tiny_4xb256_in1k.py'}

#: One of each kind; the others are the same code in other sizes.
QUICK = (
    *('resnet8_cifar', 'wrn_16_1_cifar', 'vgg8_cifar', 'mobilenet_v2_half_cifar'),
    *('shufflenet_v1_cifar', 'shufflenet_v2_cifar', 'msdnet_cifar'),
)


def test_every_classifier_has_a_rule():
    names = {path.stem for path in MODEL_FILES.glob('*.py')}
    assert {name for name in names if 'rcnn' not in name} == RULES.keys() | MMPRETRAIN.keys()


@pytest.mark.parametrize('name', MMPRETRAIN)
def test_a_network_of_mmpretrain_starts_as_there(name):
    theirs = get_config(MMPRETRAIN[name]).model
    del theirs['train_cfg'], theirs['neck']
    assert Config.fromfile(MODEL_FILES / f'{name}.py').model == theirs


@pytest.mark.parametrize(
    'name', [n if n in QUICK else pytest.param(n, marks=pytest.mark.full) for n in RULES]
)
def test_a_network_starts_as_its_papers_code_starts_it(name):
    convolution, linear, zero_bias, source = RULES[name]
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(Config.fromfile(MODEL_FILES / f'{name}.py').model)
    model.init_weights()
    for path, module in model.named_modules():
        where = f'{name}.{path} against {source}'
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            weight = module.weight.detach()
            expected = (linear if isinstance(module, nn.Linear) else convolution)(weight)
            # Six times the standard error of a normal sample's standard deviation.
            tolerance = 6 / (2 * weight.numel()) ** 0.5
            assert weight.std().item() == pytest.approx(expected, rel=tolerance), where
            assert abs(weight.mean().item()) < 6 * expected / weight.numel() ** 0.5, where
        if isinstance(module, nn.Linear):
            assert bool((module.bias == 0).all()) == zero_bias, where
        if isinstance(module, _BatchNorm):
            assert (module.weight == 1).all(), where
            assert (module.bias == 0).all(), where


def test_weights_are_started_once():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(type='mmkd.CIFARShuffleNetV1', init_cfg=None))
    model.init_weights()
    before = model.stem.conv.weight.clone()
    model.init_weights()
    assert model.stem.conv.weight.equal(before)
