"""What is compared: one file per method, its adaptation layers inside."""

from .attention_transfer import AttentionTransferLoss
from .base import DistillLoss
from .correlation_congruence import CorrelationCongruenceLoss
from .dist import DISTLoss
from .dkd import DKDLoss
from .fsp import FSPLoss
from .hint import HintLoss
from .kl_divergence import KLDivergenceLoss
from .nst import NSTLoss
from .pkt import PKTLoss
from .review_kd import ReviewKDLoss
from .rkd import RKDLoss
from .similarity_preserving import SimilarityPreservingLoss
from .vid import VIDLoss

__all__ = [
    'AttentionTransferLoss',
    'CorrelationCongruenceLoss',
    'DISTLoss',
    'DKDLoss',
    'DistillLoss',
    'FSPLoss',
    'HintLoss',
    'KLDivergenceLoss',
    'NSTLoss',
    'PKTLoss',
    'RKDLoss',
    'ReviewKDLoss',
    'SimilarityPreservingLoss',
    'VIDLoss',
]
