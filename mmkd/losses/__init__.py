"""What is compared: one file per method, its adaptation layers inside."""

from .attention_transfer import AttentionTransferLoss
from .base import DistillLoss
from .correlation_congruence import CorrelationCongruenceLoss
from .cwd import CWDLoss
from .dist import DISTLoss
from .dkd import DKDLoss
from .fgd import FGDLoss
from .fgfi import FGFILoss
from .fsp import FSPLoss
from .hint import HintLoss
from .kl_divergence import KLDivergenceLoss
from .localization import LocalizationDistillationLoss
from .mgd import MGDLoss
from .nst import NSTLoss
from .pkd import PKDLoss
from .pkt import PKTLoss
from .review_kd import ReviewKDLoss
from .rkd import RKDLoss
from .similarity_preserving import SimilarityPreservingLoss
from .vid import VIDLoss

__all__ = [
    'AttentionTransferLoss',
    'CWDLoss',
    'CorrelationCongruenceLoss',
    'DISTLoss',
    'DKDLoss',
    'DistillLoss',
    'FGDLoss',
    'FGFILoss',
    'FSPLoss',
    'HintLoss',
    'KLDivergenceLoss',
    'LocalizationDistillationLoss',
    'MGDLoss',
    'NSTLoss',
    'PKDLoss',
    'PKTLoss',
    'RKDLoss',
    'ReviewKDLoss',
    'SimilarityPreservingLoss',
    'VIDLoss',
]
