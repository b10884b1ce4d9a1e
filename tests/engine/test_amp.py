"""Mixed precision on the CPU."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from mmkd.distillers import OfflineDistiller

LOSSES = dict(
    kd=dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=4.0),
    hint=dict(type='HintLoss', student='backbone.layer2', teacher='backbone.layer2'),
)


@pytest.fixture
def model(classifier, save_teacher):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = OfflineDistiller(classifier, LOSSES, save_teacher(classifier))
    model.init_weights()
    return model


def test_forwards_are_in_bfloat16_and_the_step_is_nearly_that_of_float32(model, image_batch):
    cfg = dict(optimizer=dict(type='SGD', lr=0.1))
    half = build_optim_wrapper(model, dict(cfg, type='mmkd.BFloat16OptimWrapper'))
    full = build_optim_wrapper(model, dict(cfg, type='OptimWrapper'))
    seen = []
    for part in (model.student, model.teachers[''].model):
        part.head.fc.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    gradients = []
    for wrapper in (full, half):
        data = model.data_preprocessor(image_batch(), True)
        with wrapper.optim_context(model):
            loss, terms = model.parse_losses(model(**data, mode='loss'))
        assert terms['loss_kd'].dtype == torch.float32
        model.zero_grad()
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert seen == [torch.float32] * 2 + [torch.bfloat16] * 2
    cosine = torch.cosine_similarity(*gradients, dim=0)
    assert 0.99 < cosine < 1 - 1e-7
    before = model.student.head.fc.weight.clone()
    half.update_params(model(**data, mode='loss')['loss_student'])
    assert not torch.equal(before, model.student.head.fc.weight)
