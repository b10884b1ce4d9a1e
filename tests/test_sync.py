"""What watches the steps of the configs sees what would make a GPU wait."""

import pytest
import torch
from sync import NoWaiting, no_waiting

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


def test_a_derivative_that_waits_is_that_of_the_line_whose_forward_was_there():
    theirs = {}
    source = 'def f(x):\n  y = x.exp()\n  return y[y > 1]'
    exec(compile(source, 'elsewhere.py', 'exec'), theirs)
    x = torch.arange(3.0, requires_grad=True)
    with NoWaiting() as watch:
        loss = theirs['f'](x).square().sum() + x.sum()
        watch.others.clear()
        loss.backward()
    assert watch.others == {'elsewhere.py:3'}


FUNCTION = """
class Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2
    @staticmethod
    def backward(ctx, grad):
        return grad * grad.sum().item()
f = Function.apply
"""


def test_a_backward_of_ours_that_waits_is_refused():
    x = torch.arange(3.0, requires_grad=True)
    with (
        pytest.raises(AssertionError, match=r'losses.utils\.py:8 waits for the device'),
        NoWaiting(),
    ):
        _as_ours(FUNCTION)(x).sum().backward()


def test_backward_passes_of_a_model_are_watched():
    model = torch.nn.Linear(2, 1)
    with no_waiting(model) as watch:
        loss = model(torch.ones(1, 2)).sum()
        loss.register_hook(lambda grad: grad * grad.item())
        loss.backward()
    (line,) = watch.others
    assert line.startswith(__file__)
    assert 'watched' not in torch.autograd.backward.__name__


def test_what_does_not_wait_passes():
    x = torch.arange(-2.0, 3.0, requires_grad=True)
    source = (
        'def f(x): return (torch.where(x > 0, x, 0).sum() + x[torch.tensor([0, 1])].sum(), x[1:])'
    )
    with NoWaiting() as watch:
        total, rest = _as_ours(source)(x)
        (total + rest.sum()).backward()
    assert not watch.others
