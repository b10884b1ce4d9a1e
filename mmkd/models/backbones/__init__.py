"""The papers' networks that mmpretrain lacks."""

from .densenet_cifar import CIFARDenseNet
from .efficientnet_cifar import CIFAREfficientNet
from .mobilenet_v1 import MobileNetV1
from .mobilenet_v2_cifar import CIFARMobileNetV2
from .msdnet import MSDNet
from .preact_resnet import PreActResNet
from .resnet_cifar import BareStemResNet, CIFARResNet
from .shufflenet_cifar import CIFARShuffleNetV1, CIFARShuffleNetV2
from .vgg_cifar import CIFARVGG
from .wide_resnet import WideResNet

__all__ = [
    'BareStemResNet',
    'CIFARDenseNet',
    'CIFAREfficientNet',
    'CIFARMobileNetV2',
    'CIFARResNet',
    'CIFARShuffleNetV1',
    'CIFARShuffleNetV2',
    'CIFARVGG',
    'MSDNet',
    'MobileNetV1',
    'PreActResNet',
    'WideResNet',
]
