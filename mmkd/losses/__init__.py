"""What is compared: one file per method, its adaptation layers inside."""

from .ab import ABLoss
from .attention_transfer import AttentionTransferLoss
from .base import DistillLoss
from .beed import BEEDLoss
from .box_distillation import BoxDistillationLoss
from .byot import BYOTLoss
from .correlation_congruence import CorrelationCongruenceLoss
from .crd import CRDLoss
from .cwd import CWDLoss
from .dcm import DCMLoss
from .dist import DISTLoss
from .dkd import DKDLoss
from .exit_base import ExitLoss
from .exit_ce import ExitCELoss
from .exit_kd import ExitKDLoss
from .factor_transfer import FactorTransferLoss
from .fgd import FGDLoss
from .fgfi import FGFILoss
from .fsp import FSPLoss
from .hint import HintLoss
from .kl_divergence import KLDivergenceLoss
from .ld import LDLoss
from .learnable_ensemble import LearnableEnsembleLoss
from .mgd import MGDLoss
from .nst import NSTLoss
from .ofd import OFDLoss
from .one import ONELoss
from .pkd import PKDLoss
from .pkt import PKTLoss
from .quality_focal_kd import QualityFocalKDLoss
from .review_kd import ReviewKDLoss
from .rkd import RKDLoss
from .similarity_preserving import SimilarityPreservingLoss
from .vid import VIDLoss

__all__ = [
    'ABLoss',
    'AttentionTransferLoss',
    'BEEDLoss',
    'BYOTLoss',
    'BoxDistillationLoss',
    'CRDLoss',
    'CWDLoss',
    'CorrelationCongruenceLoss',
    'DCMLoss',
    'DISTLoss',
    'DKDLoss',
    'DistillLoss',
    'ExitCELoss',
    'ExitKDLoss',
    'ExitLoss',
    'FGDLoss',
    'FGFILoss',
    'FSPLoss',
    'FactorTransferLoss',
    'HintLoss',
    'KLDivergenceLoss',
    'LDLoss',
    'LearnableEnsembleLoss',
    'MGDLoss',
    'NSTLoss',
    'OFDLoss',
    'ONELoss',
    'PKDLoss',
    'PKTLoss',
    'QualityFocalKDLoss',
    'RKDLoss',
    'ReviewKDLoss',
    'SimilarityPreservingLoss',
    'VIDLoss',
]
