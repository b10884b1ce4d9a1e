"""Losses and gradient norms as public reference code gives them for the same weights, in float64.

The numbers come from the repository and commit named beside them. Inputs and weights are waves, so
that they are the same under every version of torch.
"""

import pytest
import torch

from mmkd.losses import FactorTransferLoss, FSPLoss, HintLoss, OFDLoss

CRD = 'HobbitLong/RepDistiller@b84f547c5db6a35318d4671d7d5c4de74c822403'
MDISTILLER = 'megvii-research/mdistiller@a08d46f10d6102bd6e3f258ca5ac880b020ea259'
FACTORS = 'Jangho-Kim/Factor-Transfer-pytorch@19cce265ebe51c751481041e223a13be2e684322'


def wave(*shape, phase=0):
    positions = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (positions * 1.7 + phase).sin().reshape(shape)


def agree(loss, student, teacher, value, norm, source):
    """Value, and norm of the gradient of all that the student gave."""
    sides = student if isinstance(student, list) else [student]
    for side in sides:
        side.requires_grad_()
    found = loss(student, teacher)
    gradients = torch.autograd.grad(found, sides)
    assert found.item() == pytest.approx(value, rel=1e-9), source
    squares = sum(gradient.square().sum() for gradient in gradients)
    assert squares.sqrt().item() == pytest.approx(norm, rel=1e-9), source


@pytest.mark.parametrize(
    ('student', 'teacher', 'value', 'norm'),
    [
        ((3, 8), (5, 8), 46.88690495637922, 2.5041277179923958),
        ((3, 16), (5, 8), 46.75341717741034, 7.639193719915628),
        ((3, 8), (5, 16), 47.21751524260752, 1.2045763397623426),
        ((4, 8), (4, 8), 46.90932933127108, 2.9613635691549174),
    ],
)
def test_fitnet_of_the_crd_benchmark(student, teacher, value, norm):
    (channels_s, size_s), (channels_t, size_t) = student, teacher
    ours = wave(2, channels_s, size_s, size_s)
    theirs = wave(2, channels_t, size_t, size_t, phase=1).relu()
    loss = HintLoss(regressor='conv_bn_relu', loss_weight=100.0)
    loss.build(ours, theirs)
    conv = loss.double().regressors[0].conv
    conv.weight.data = wave(*conv.weight.shape, phase=2)
    agree(loss, ours, theirs, value, norm, f'{CRD}: models/util.py ConvReg')


def test_fsp_of_the_crd_benchmark():
    shapes = [(2, 4, 8, 8), (2, 6, 8, 8), (2, 8, 4, 4)]
    student = [wave(*shape, phase=i) for i, shape in enumerate(shapes)]
    teacher = [wave(*shape, phase=i + 3) for i, shape in enumerate(shapes)]
    loss = FSPLoss()
    loss.build(student, teacher)
    value, norm = 1.9515776748611813e-05, 0.00022860302590383812
    agree(loss, student, teacher, value, norm, f'{CRD}: distiller_zoo/FSP.py')


@pytest.mark.parametrize(
    ('form', 'weight', 'size', 'value', 'norm', 'rebuilt', 'source'),
    [
        ('crd', 200, 4, 26.077803761218664, 21.789179853359094, 25672178.68367525, CRD),
        ('crd', 200, 8, 31.49835385134544, 41.85171980518973, 25672178.68367525, CRD),
        ('authors', 500, 4, 45.152006261919695, 13.295891951920257, 3399.346713498225, FACTORS),
    ],
)
def test_factor_transfer(form, weight, size, value, norm, rebuilt, source):
    student, teacher = wave(2, 3, size, size), wave(2, 6, 4, 4, phase=1)
    loss = FactorTransferLoss(form=form, loss_weight=weight)
    loss.build(student, teacher)
    loss.double()
    for module, phase in ((loss.paraphrasers, 2), (loss.translators, 20)):
        convolutions = [layer.conv for layer in module.modules() if hasattr(layer, 'conv')]
        for i, conv in enumerate(convolutions):
            conv.weight.data = wave(*conv.weight.shape, phase=phase + i)
            if conv.bias is not None:
                conv.bias.data.zero_()
    with loss.pretraining():
        assert loss.pretrain_loss(teacher).item() == pytest.approx(rebuilt, rel=1e-9), source
    agree(loss, student, teacher, value, norm, source)


@pytest.mark.parametrize(
    ('size', 'value', 'norm'),
    [
        (8, 0.37242795433774817, 0.010083192518453691),
        (4, 0.2667745876748622, 0.03635156602604134),
        (16, 0.7607974549798316, 0.012812580425430679),
    ],
)
def test_ofd(size, value, norm):
    student = [wave(2, 3, 8, 8), wave(2, 4, size // 2, size // 2, phase=1)]
    teacher = [wave(2, 5, 8, 8, phase=2), wave(2, 6, 4, 4, phase=3)]
    teacher += [wave(5, phase=4), wave(6, phase=5), wave(5, phase=6) * 4, wave(6, phase=7) * 4]
    loss = OFDLoss(margins='norm', loss_weight=1e-3)
    loss.build(student, teacher)
    loss.double()
    for i, connector in enumerate(loss.connectors):
        connector.conv.weight.data = wave(*connector.conv.weight.shape, phase=8 + i)
    agree(loss, student, teacher, value, norm, f'{MDISTILLER}: mdistiller/distillers/OFD.py')
