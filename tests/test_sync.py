"""What watches the steps of the configs sees what would make a GPU wait."""

import pytest
import torch
from sync import NoWaiting

import mmkd.losses.utils


def _as_ours(source):
    """Compile a function as if it were written in mmkd."""
    scope = dict(torch=torch)
    exec(compile(source, mmkd.losses.utils.__file__, 'exec'), scope)
    return scope['f']


WAITING = [
    'x.sum().item()',
    'float(x.mean())',
    'x if x.any() else -x',
    'x[x > 0]',
    'x.nonzero()',
    'x.masked_select(x > 0)',
    'torch.unique(x)',
    'torch.equal(x, x)',
]


@pytest.mark.parametrize('expression', WAITING)
def test_waiting_is_refused_in_our_code_and_noted_in_that_of_others(expression):
    x = torch.arange(-2.0, 3.0)
    with (
        pytest.raises(AssertionError, match=r'losses.utils\.py:1 waits for the device'),
        NoWaiting(),
    ):
        _as_ours(f'def f(x): return {expression}')(x)
    theirs = {}
    exec(
        compile(f'def f(x): return {expression}', 'elsewhere.py', 'exec'), dict(torch=torch), theirs
    )
    with NoWaiting() as watch:
        theirs['f'](x)
    assert watch.others == {'elsewhere.py:1'}


def test_what_does_not_wait_passes():
    x = torch.arange(-2.0, 3.0, requires_grad=True)
    source = (
        'def f(x): return (torch.where(x > 0, x, 0).sum() + x[torch.tensor([0, 1])].sum(), x[1:])'
    )
    with NoWaiting() as watch:
        total, rest = _as_ours(source)(x)
        (total + rest.sum()).backward()
    assert not watch.others
