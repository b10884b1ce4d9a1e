"""A loss that can only be zero is refused, where the taps' shapes tell."""

import pytest
import torch

from mmkd.losses import (
    AttentionTransferLoss,
    CWDLoss,
    DISTLoss,
    DKDLoss,
    KLDivergenceLoss,
    NSTLoss,
)


@pytest.mark.parametrize('loss', [CWDLoss, AttentionTransferLoss, NSTLoss])
def test_maps_of_one_position_are_refused_at_build_and_in_the_first_step(loss):
    small, large = torch.rand(2, 3, 1, 1), torch.rand(2, 3, 4, 4)
    with pytest.raises(ValueError, match=rf'{loss.__name__} .*is 0.*\(2, 3, 1, 1\).*earlier stage'):
        loss().build(small, small)
    module = loss()
    module.build(large, large)
    with pytest.raises(ValueError, match='without gradient, on maps of one position'):
        module(small, small)


@pytest.mark.parametrize('loss', [CWDLoss, AttentionTransferLoss, NSTLoss])
def test_one_small_level_of_several_is_accepted(loss):
    levels = [torch.rand(2, 3, 4, 4), torch.rand(2, 3, 1, 1)]
    module = loss()
    module.build(levels, levels)
    assert module(levels, [1 - x for x in levels]) > 0


@pytest.mark.parametrize('loss', [KLDivergenceLoss, DISTLoss, DKDLoss])
def test_a_softmax_over_one_class_is_refused(loss):
    with pytest.raises(ValueError, match=rf'{loss.__name__} takes a softmax.*always 1.*\(2, 1\)'):
        loss().build(torch.rand(2, 1), torch.rand(2, 1))
