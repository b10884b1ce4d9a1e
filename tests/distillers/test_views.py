"""Tokens as maps and maps as tokens."""

import pytest
import torch
from mmengine.registry import DefaultScope

from mmkd.distillers import OfflineDistiller
from mmkd.distillers.views import View, parse_side, paths_of, read

MAP = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).view(2, 3, 4, 4)
#: Row by row: token i of the image is the pixel (i // 4, i % 4).
TOKENS = torch.stack([MAP[:, :, i // 4, i % 4] for i in range(16)], dim=1)


@pytest.mark.parametrize('extra', [0, 1, 2, 5])
def test_tokens_become_the_map_that_they_list(extra):
    tokens = torch.cat([torch.full((2, extra, 3), -1.0), TOKENS], dim=1)
    view = View('t', 'map')
    if extra == 0:
        # 16 tokens could be 4x4, but 3x3 does not leave 0, 1, 2 or 5.
        torch.testing.assert_close(view(TOKENS), MAP)
    torch.testing.assert_close(view(tokens), MAP)
    torch.testing.assert_close(View('t', 'tokens')(tokens), TOKENS)
    torch.testing.assert_close(View('t', 'tokens')(MAP), TOKENS)


def test_the_grid_is_the_modules_or_stated():
    wide = TOKENS[:, :6]
    expected = torch.stack([wide[:, :3], wide[:, 3:]], dim=1).permute(0, 3, 1, 2)
    torch.testing.assert_close(View('t', 'map')((wide, (2, 3))), expected)
    torch.testing.assert_close(View('t', 'map', grid=(2, 3))(wide), expected)
    both = View('t', 'map')([(wide, (2, 3)), (TOKENS, (4, 4))])
    torch.testing.assert_close(both, [expected, MAP])


def test_a_map_is_resized_bilinearly():
    # Half the size: each pixel is the mean of four.
    expected = MAP.view(2, 3, 2, 2, 2, 2).mean(dim=(3, 5))
    torch.testing.assert_close(View('t', 'map', size=2)(MAP), expected)
    torch.testing.assert_close(View('t', 'map', size=(2, 2))(TOKENS), expected)
    tokens = View('t', 'tokens', size=2)(MAP)
    torch.testing.assert_close(tokens, expected.flatten(2).transpose(1, 2))


def test_gradients_flow_through_a_view():
    tokens = TOKENS.clone().requires_grad_()
    View('t', 'map', size=2)(tokens).sum().backward()
    torch.testing.assert_close(tokens.grad, torch.full_like(TOKENS, 0.25))


def test_a_side_may_have_paths_and_views():
    side = parse_side('losses.a.student', ['a', dict(tap='b', to='map')])
    assert paths_of(side) == ['a', 'b']
    found = read({'a': 1, 'b': TOKENS}, side)
    assert found[0] == 1
    torch.testing.assert_close(found[1], MAP)


@pytest.mark.parametrize(
    ('view', 'value', 'said'),
    [
        (dict(), TOKENS[:, :7], r"tap 't' gives 7 tokens, .*no square.*grid=\(h, w\)"),
        (dict(grid=(5, 4)), TOKENS, r'16 tokens, too few for grid=\(5, 4\)'),
        (dict(), TOKENS[:, 0], r'gives \(2, 3\), expected a map'),
        (dict(), None, 'gives a NoneType'),
    ],
)
def test_what_is_no_map_is_named(view, value, said):
    with pytest.raises(ValueError, match=said):
        View('t', 'map', **view)(value)


@pytest.mark.parametrize(
    ('side', 'error', 'said'),
    [
        (dict(tap='a'), TypeError, r'losses.a.student=.*expected a tap or dict\(tap='),
        (dict(tap='a', to='vector'), ValueError, "losses.a.student: to='vector', expected 'map'"),
        (dict(tap='a', to='map', sise=3), TypeError, 'student.sise=3 is unknown.*nearest: size'),
        (dict(tap='a', to='map', size=(3,)), ValueError, r'size=\(3,\), expected a height and'),
        (dict(tap='a', to='map', grid=4), ValueError, 'grid=4, expected a height and a width'),
    ],
)
def test_a_wrong_view_is_named(side, error, said):
    with pytest.raises(error, match=said):
        parse_side('losses.a.student', side)


@pytest.fixture
def vit():
    return dict(
        type='ImageClassifier',
        _scope_='mmpretrain',
        data_preprocessor=dict(num_classes=5, mean=[100.0] * 3, std=[50.0] * 3, to_rgb=True),
        backbone=dict(type='VisionTransformer', arch='deit-tiny', img_size=16, patch_size=4),
        head=dict(type='VisionTransformerClsHead', num_classes=5, in_channels=192),
    )


@pytest.fixture
def distil(save_teacher, image_batch):
    """Train one step with a hint, and return its loss and the student."""

    def run(network, frozen, **sides):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            losses = dict(hint=dict(type='mmkd.HintLoss', **sides))
            model = OfflineDistiller(network, losses, save_teacher(frozen))
        loss = model(**model.data_preprocessor(image_batch(), True), mode='loss')['loss_hint']
        loss.backward()
        return loss, model.student

    return run


TOKENS_AS_MAP = dict(tap='backbone.layers.5', to='map')


def test_a_transformer_teaches_maps_and_is_taught_them(distil, vit, classifier):
    # 16 tokens of 4x4, and a map of 8x8.
    stage = dict(tap='backbone.layer2', to='map', size=4)
    loss, student = distil(classifier, vit, student=stage, teacher=TOKENS_AS_MAP)
    assert loss > 0
    assert student.backbone.layer1[0].conv1.weight.grad.any()
    loss, student = distil(vit, classifier, student=TOKENS_AS_MAP, teacher=stage)
    assert loss > 0
    assert student.backbone.patch_embed.projection.weight.grad.any()


def test_tokens_where_maps_are_compared_are_refused_with_what_helps(distil, vit, classifier):
    with pytest.raises(
        ValueError, match=r"hint .*make tokens a map with dict\(tap=..., to='map'\)"
    ):
        distil(classifier, vit, student='backbone.layer2', teacher='backbone.layers.5')
