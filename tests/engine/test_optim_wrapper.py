"""Mixed precision on a CPU, and groups of parameters by the layer of the student."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmkd.cli.train import use_mixed_precision
from mmkd.engine import BFloat16OptimWrapper
from mmkd.registry import MODELS


def test_forward_is_in_bfloat16_and_weights_and_update_in_float32():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    cfg = dict(type='mmkd.BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=1.0))
    optim = build_optim_wrapper(model, cfg)
    before = model.weight.detach().clone()
    with optim.optim_context(model):
        output = model(torch.ones(1, 3))
    assert output.dtype == torch.bfloat16
    optim.update_params(output.float().sum())
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, before - 1)
    assert not torch.is_autocast_enabled('cpu')


@pytest.mark.skipif(torch.cuda.is_available(), reason='a GPU takes MMEngine’s wrapper')
def test_amp_without_a_gpu_takes_it_in_place_of_what_the_config_has():
    optim = ConfigDict(type='AmpOptimWrapper', loss_scale=512.0, optimizer=dict(type='SGD', lr=1))
    use_mixed_precision(optim)
    assert isinstance(build_optim_wrapper(nn.Linear(1, 1), optim), BFloat16OptimWrapper)
    with pytest.raises(SystemExit, match=r"optim_wrapper.dtype='float16'; set it to bfloat16"):
        use_mixed_precision(ConfigDict(type='AmpOptimWrapper', dtype='float16'))


ADAMW = dict(type='AdamW', lr=1.0, weight_decay=0.1)
BY_LAYER = dict(
    constructor='mmpretrain.LearningRateDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.5, norm_decay_mult=0.0),
)
BY_STAGE = dict(
    constructor='mmdet.LearningRateDecayOptimizerConstructor',
    paramwise_cfg=dict(num_layers=4, decay_rate=0.5, decay_type='stage_wise'),
)


def of_student(settings):
    """The same settings as a distiller needs them."""
    paramwise = dict(settings['paramwise_cfg'], student_constructor=settings['constructor'])
    return dict(constructor='mmkd.StudentOptimWrapperConstructor', paramwise_cfg=paramwise)


def groups(model, settings):
    """Learning rate and weight decay of each parameter, by its name."""
    optim = build_optim_wrapper(model, dict(optimizer=dict(ADAMW), **settings))
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group['lr'], group['weight_decay'])
        for group in optim.optimizer.param_groups
        for parameter in group['params']
    }


@pytest.fixture
def transformer(classifier):
    arch = dict(embed_dims=8, num_layers=3, num_heads=2, feedforward_channels=8)
    backbone = dict(type='VisionTransformer', arch=arch, img_size=32, patch_size=16)
    head = dict(type='VisionTransformerClsHead', num_classes=5, in_channels=8)
    return dict(classifier, backbone=backbone, neck=None, head=head)


@pytest.fixture
def convnext(detector):
    """A Faster R-CNN on ConvNeXt."""
    arch = dict(depths=[1, 1, 1, 1], channels=[4, 8, 16, 32])
    detector['backbone'] = dict(
        type='mmpretrain.ConvNeXt', arch=arch, out_indices=[0, 1, 2, 3], gap_before_final_norm=False
    )
    return detector


def multi_exit(network):
    exits = [dict(tap='backbone.layers.0', in_channels=8, type='mmkd.TokenExit')]
    return dict(type='mmkd.MultiExitClassifier', model=network, exits=exits)


def check_groups(distiller, prefixes, settings, rates):
    """Below each prefix the groups are those of the plain model; return all others."""
    found = groups(distiller, of_student(settings))
    assert found.keys() == {name for name, _ in distiller.named_parameters()}
    for prefix in prefixes:
        alone = groups(distiller.get_submodule(prefix.removesuffix('.')), settings)
        assert len({lr for lr, _ in alone.values()}) == rates
        assert {
            k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)
        } == alone
    return {k: v for k, v in found.items() if not k.startswith(tuple(prefixes))}


def test_the_network_has_rates_by_layer_and_its_exits_have_not(transformer):
    cfg = dict(type='mmkd.MultiExitDistiller', student=multi_exit(transformer))
    distiller = MODELS.build(dict(cfg, objective=dict(type='mmkd.ExitCELoss')))
    others = check_groups(distiller, ['student.model.'], BY_LAYER, rates=5)
    assert others.pop('student.exits.0.layers.0.weight') == (1.0, 0.0)
    assert (1.0, 0.1) in others.values()
    assert {rate for rate, _ in others.values()} == {1.0}


def test_each_peer_has_rates_by_layer(transformer):
    networks = [dict(model=transformer), dict(model=transformer)]
    cfg = dict(type='mmkd.MutualDistiller', networks=networks, objective=dict(type='mmkd.DCMLoss'))
    prefixes = ['networks.0.model.', 'networks.1.model.']
    assert not check_groups(MODELS.build(cfg), prefixes, BY_LAYER, rates=5)


def test_a_detector_has_rates_by_stage_and_the_regressors_have_not(
    convnext, detector, save_teacher
):
    term = dict(type='mmkd.HintLoss', student='neck', teacher='neck')
    cfg = dict(type='mmkd.DetectionDistiller', student=convnext, losses=dict(fitnet=term))
    distiller = MODELS.build(dict(cfg, teacher=save_teacher(detector)))
    others = check_groups(distiller, ['student.'], BY_STAGE, rates=6)
    assert len(others) == 10
    assert set(others.values()) == {(1.0, 0.1)}


def test_a_constructor_for_the_student_is_needed():
    with pytest.raises(ValueError, match='paramwise_cfg.student_constructor is missing'):
        groups(nn.Linear(1, 1), dict(constructor='mmkd.StudentOptimWrapperConstructor'))


def test_a_plain_model_needs_the_constructor_itself(transformer):
    with pytest.raises(TypeError, match='is for distillers, and model is a ImageClassifier'):
        groups(MODELS.build(transformer), of_student(BY_LAYER))
