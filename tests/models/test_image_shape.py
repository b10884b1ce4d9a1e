"""The size of the dummy image is what the networks say that they need."""

import pytest
from mmengine.registry import DefaultScope

from mmkd.models.image_shape import image_shape, image_size
from mmkd.registry import MODELS

SWIN = dict(type='SwinTransformer', arch='tiny', window_size=2)
VIT = dict(type='VisionTransformer', arch='deit-t', patch_size=16)


def network(**backbone):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(dict(type='ImageClassifier', backbone=backbone))


@pytest.mark.parametrize(
    ('backbone', 'size'),
    [
        (SWIN, (224, 224)),
        (dict(SWIN, img_size=64), (64, 64)),
        (dict(VIT, img_size=(32, 48)), (32, 48)),
        (dict(VIT, type='DistilledVisionTransformer', img_size=32), (32, 32)),
        (dict(type='ResNet', depth=18), None),
    ],
)
def test_the_size_is_the_backbones(backbone, size):
    assert image_size(network(**backbone)) == size


def test_networks_that_see_the_same_images_follow_the_one_that_is_bound():
    free, bound = network(type='ResNet', depth=18), network(**VIT, img_size=32)
    assert image_shape(free) == (3, 64, 64)
    assert image_shape(free, bound) == image_shape(bound, free) == (3, 32, 32)
