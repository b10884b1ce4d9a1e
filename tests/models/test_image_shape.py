"""The size of the dummy image is what the networks say that they need."""

import pytest
from mmengine.registry import DefaultScope

from mmkd.models.image_shape import first_fit, image_shapes, image_size
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
    assert image_shapes(free) == [(3, 64, 64), (3, 224, 224)]
    assert image_shapes(free, bound) == image_shapes(bound, free) == [(3, 32, 32)]


def test_the_first_shape_that_runs_is_taken_and_of_none_the_first_is_told():
    def at_least(size):
        def run(shape):
            if shape[1] < size:
                raise ValueError(f'{shape[1]} is too small')
            return shape[1]

        return run

    shapes = image_shapes(network(type='ResNet', depth=18))
    assert [first_fit(shapes, at_least(size)) for size in (64, 65)] == [64, 224]
    with pytest.raises(ValueError, match='64 is too small'):
        first_fit(shapes, at_least(225))
