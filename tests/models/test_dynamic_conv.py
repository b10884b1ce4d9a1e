"""Layers that take the place of a convolution in a generated teacher."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvWS2d
from mmengine.model import initialize
from torch import nn

from mmkd.models.layers import CBAM, CBAMConv2d, DynamicAdditiveConv2d, SEConv2d

CONVS = [
    dict(padding=1),
    dict(padding=1, bias=False),
    dict(stride=2, padding=1),
    dict(padding=2, dilation=2),
    dict(padding='same'),
    dict(padding=1, groups=2),
    dict(padding=1, groups=4, bias=False),
]


def conv2d(**kwargs):
    torch.manual_seed(0)
    return nn.Conv2d(4, 8, 3, **kwargs).double()


@pytest.fixture
def images():
    return torch.randn(3, 4, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def dynamic(num_kernels=4, **kwargs):
    conv = conv2d(**(kwargs or dict(padding=1)))
    return DynamicAdditiveConv2d(conv, num_kernels).double()


@pytest.mark.parametrize('kwargs', CONVS, ids=str)
def test_one_kernel_is_a_plain_convolution(images, kwargs):
    conv = conv2d(**kwargs)
    layer = DynamicAdditiveConv2d(conv, num_kernels=1).double()
    layer.kernels[0].load_state_dict(conv.state_dict())
    assert torch.allclose(layer(images), conv(images))


@pytest.mark.parametrize('kwargs', CONVS, ids=str)
def test_equals_a_loop_over_images_and_kernels(images, kwargs):
    layer = dynamic(**kwargs)
    expected = []
    for image in images:
        scores = [
            sum(w * c.mean() for w, c in zip(row, image, strict=True)) + b
            for row, b in zip(layer.attention.weight, layer.attention.bias, strict=True)
        ]
        total = sum(math.exp(s) for s in scores)
        # Outputs are mixed here, kernels in the layer.
        mixed = sum(
            math.exp(s) / total * kernel(image[None])
            for s, kernel in zip(scores, layer.kernels, strict=True)
        )
        expected.append(mixed)
    assert torch.allclose(layer(images), torch.cat(expected))


def test_attention_of_an_image_sums_to_one_and_differs_between_images(images):
    alpha = dynamic().kernel_weights(images * 10)
    assert alpha.shape == (3, 4)
    assert (alpha > 0).all()
    assert torch.allclose(alpha.sum(dim=1), torch.ones(3, dtype=torch.float64))
    assert not torch.allclose(alpha[0], alpha[1])


def test_attention_sees_the_pooled_image_alone(images):
    layer = dynamic()
    shuffled = images.flatten(2)[..., torch.randperm(30)].view_as(images)
    assert torch.allclose(layer.kernel_weights(images), layer.kernel_weights(shuffled))


def test_images_of_a_batch_do_not_mix(images):
    layer = dynamic()
    assert torch.allclose(layer(images)[1:2], layer(images[1:2]))


def test_gradient(images):
    layer = dynamic(num_kernels=2)
    x = images[:2, :, :3, :3].clone().requires_grad_()
    parameters = tuple(layer.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *parameters))


def test_kernels_start_different_and_take_the_init_cfg_of_the_convolution():
    layer = dynamic(num_kernels=3, bias=False)
    first, second = layer.kernels[0].weight, layer.kernels[1].weight
    assert not torch.equal(first, second)
    initialize(layer, dict(type='Constant', layer='Conv2d', val=2.0))
    assert all((kernel.weight == 2).all() for kernel in layer.kernels)


@pytest.mark.parametrize(
    ('conv', 'num_kernels', 'message'),
    [
        (nn.Conv2d(3, 3, 3), 0, 'num_kernels=0; expected 1 or more'),
        (nn.Conv2d(3, 3, 3, padding=1, padding_mode='reflect'), 4, "padding_mode='reflect'"),
        (ConvWS2d(3, 3, 3), 4, 'found mmcv.*ConvWS2d'),
    ],
)
def test_what_it_cannot_replace_is_refused(conv, num_kernels, message):
    with pytest.raises(ValueError, match=f'DynamicAdditiveConv2d.*{message}'):
        DynamicAdditiveConv2d(conv, num_kernels)


def test_se_scales_the_channels_of_the_convolution(images):
    layer = SEConv2d(conv2d(padding=1)).double()
    maps = layer.conv(images)
    scale = layer(images) / maps
    assert torch.allclose(scale, scale[..., :1, :1].expand_as(scale))
    assert ((scale > 0) & (scale < 1)).all()
    assert not torch.allclose(scale[0], scale[1])


def test_cbam_equals_the_definition(images):
    torch.manual_seed(0)
    layer = CBAM(4, kernel_size=3).double()
    squeeze, _, expand = layer.channel
    expected = torch.zeros_like(images)
    for n, image in enumerate(images):
        scores = 0
        for pool in (torch.Tensor.mean, torch.Tensor.max):
            pooled = torch.stack([pool(channel) for channel in image])
            hidden = (squeeze.weight @ pooled + squeeze.bias).clamp(min=0)
            scores = scores + expand.weight @ hidden + expand.bias
        scaled = torch.stack([c / (1 + math.exp(-s)) for c, s in zip(image, scores, strict=True)])
        padded = F.pad(torch.stack([scaled.mean(0), scaled.max(0).values]), (1, 1, 1, 1))
        for i in range(image.shape[1]):
            for j in range(image.shape[2]):
                score = (padded[:, i : i + 3, j : j + 3] * layer.spatial.weight[0]).sum()
                expected[n, :, i, j] = scaled[:, i, j] / (1 + math.exp(-score))
    assert torch.allclose(layer(images), expected)


@pytest.mark.parametrize('layer', [SEConv2d, CBAMConv2d])
def test_attention_follows_the_very_convolution_and_keeps_the_shape(images, layer):
    conv = conv2d(stride=2, padding=1)
    stronger = layer(conv).double()
    assert stronger.conv is conv
    assert stronger(images).shape == conv(images).shape
