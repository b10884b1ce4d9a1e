"""A small instance of every term: arguments, and what it compares."""

import torch
from mmpretrain.structures import DataSample

import mmkd.losses

CLASSES, BINS, SIZES = 3, 5, [(8, 12), (4, 6), (2, 3)]
ANCHORS = dict(
    type='AnchorGenerator',
    ratios=[1.0],
    octave_base_scale=4,
    scales_per_octave=1,
    strides=[8, 16, 32],
)
ASSIGNER = dict(type='ATSSAssigner', topk=9)


def normal(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, generator=generator)


def maps(seed, channels=8, sizes=((16, 16), (8, 8), (4, 4))):
    return [normal(4, channels, *size, seed=seed) for size in sizes]


def logits(seed, scale=3.0):
    return normal(8, 10, seed=seed, scale=scale)


def pairs(make):
    """A teacher that a student resembles by half."""
    teacher, other = make(0), make(1)
    if isinstance(teacher, torch.Tensor):
        return (teacher + other) / 2, teacher
    return [(t + o) / 2 for t, o in zip(teacher, other, strict=True)], teacher


def labels():
    return [DataSample(metainfo=dict(sample_idx=i)).set_gt_label(i % 5) for i in range(8)]


def dense(channels):
    return lambda seed: [normal(2, channels, *size, seed=seed, scale=2.0) for size in SIZES]


def vectors(seed):
    return normal(8, 16, seed=seed)


def one_map(seed):
    return maps(seed)[1]


def boxes():
    student, teacher = pairs(lambda seed: normal(6, 4 * CLASSES, seed=seed))
    return student, [teacher, normal(6, CLASSES + 1, seed=3)]


def edges():
    student, teacher = pairs(dense(4 * BINS))
    return [dense(CLASSES)(5), student], teacher


DENSE = dict(anchor_generator=ANCHORS, assigner=ASSIGNER)
#: Arguments, sides, and whether there are data samples: of images, of scenes.
TERMS = dict(
    ABLoss=({}, pairs(maps), None),
    AttentionTransferLoss=({}, pairs(maps), None),
    BoxDistillationLoss=({}, boxes(), None),
    CRDLoss=(dict(num_data=32, num_negatives=16), pairs(vectors), 'images'),
    CWDLoss=({}, pairs(maps), None),
    CorrelationCongruenceLoss=({}, pairs(vectors), None),
    DISTLoss=({}, pairs(logits), None),
    DKDLoss=({}, pairs(logits), 'images'),
    FGDLoss=({}, pairs(dense(8)), 'scenes'),
    FGFILoss=(dict(anchor_generator=ANCHORS), pairs(dense(8)), 'scenes'),
    FSPLoss=({}, pairs(maps), None),
    FactorTransferLoss=({}, pairs(one_map), None),
    HintLoss=({}, pairs(maps), None),
    KLDivergenceLoss=(dict(tau=4.0), pairs(logits), None),
    LDLoss=(DENSE, edges(), 'scenes'),
    LearnableEnsembleLoss=({}, ([logits(0), logits(1)],) * 2, 'images'),
    MGDLoss=({}, pairs(maps), None),
    NSTLoss=({}, pairs(maps), None),
    OFDLoss=({}, pairs(maps), None),
    PKDLoss=({}, pairs(maps), None),
    PKTLoss=({}, pairs(vectors), None),
    QualityFocalKDLoss=({}, pairs(dense(CLASSES)), 'scenes'),
    RKDLoss=({}, pairs(vectors), None),
    ReviewKDLoss=({}, pairs(maps), None),
    SimilarityPreservingLoss=({}, pairs(maps), None),
    VIDLoss=({}, pairs(maps), None),
)


def cut(value):
    """The first two rows of every tensor."""
    return value[:2] if isinstance(value, torch.Tensor) else [cut(item) for item in value]


def build(name):
    """The loss of a name, made for its sides in ``TERMS``."""
    arguments, (student, teacher), _ = TERMS[name]
    torch.manual_seed(0)
    loss = getattr(mmkd.losses, name)(**arguments)
    # As many rows as the dummy batch has images.
    loss.build(cut(student), cut(teacher))
    if name == 'FactorTransferLoss':
        with loss.pretraining():
            pass
    return loss
