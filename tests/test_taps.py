import copy
import pickle

import pytest
import torch
from torch import nn

from mmkd.taps import Additions, Taps


class Block(nn.Module):
    def __init__(self, inplace=True):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.relu = nn.ReLU(inplace=inplace)

    def forward(self, x, scale=1):
        return self.relu(self.conv(x) * scale - 1)


class Pyramid(nn.Module):
    def forward(self, x):
        return x, x[..., ::2]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.other = Block()
        self.neck = Pyramid()

    def forward(self, x):
        return self.neck(self.block(x, 2))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def image():
    return torch.randn(2, 3, 4, 4)


def test_every_kind_of_path_reads_its_tensor(net, image):
    paths = ['block', 'neck', 'neck[1]', 'block:input', 'block:input[1]', 'block.relu:input']
    with Taps(net, paths) as record:
        first, second = net(image)
    assert torch.equal(record['block'], first)
    assert isinstance(record['neck'], tuple)
    assert torch.equal(record['neck[1]'], second)
    assert record['block:input'] is image
    assert record['block:input[1]'] == 2
    assert torch.equal(record['block.relu:input'], net.block.conv(image) * 2 - 1)


def test_gradient_flows_through_a_tap(net, image):
    with Taps(net, ['block.conv']) as record:
        net(image)
    # conv's output is multiplied into a new tensor, so nothing overwrote it.
    record['block.conv'].sum().backward()
    assert net.block.conv.weight.grad.abs().sum() > 0


def test_no_hook_stays_and_the_model_copies_and_pickles(net, image):
    with Taps(net, ['block', 'block.relu:input']):
        net(image)
    for module in net.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert net.block.relu.inplace is True
    assert torch.equal(copy.deepcopy(net)(image)[0], pickle.loads(pickle.dumps(net))(image)[0])


def test_hooks_go_when_the_forward_raises(net):
    with pytest.raises(RuntimeError), Taps(net, ['block']):
        net(torch.randn(2, 5, 4, 4))
    assert not net.block._forward_hooks


def test_unknown_path_names_the_nearest(net):
    with pytest.raises(ValueError, match=r"no module 'blok'.*block"):
        Taps(net, ['blok'])


@pytest.mark.parametrize('path', ['', 'block:output', 'neck[a]', 'a..b', None])
def test_unreadable_path_is_refused(net, path):
    with pytest.raises(ValueError, match='cannot be read'):
        Taps(net, [path])


def test_unreached_tap_is_named(net, image):
    with Taps(net, ['other.conv']) as record:
        net(image)
    with pytest.raises(RuntimeError, match=r"'other.conv' was not reached"):
        record['other.conv']


def test_missing_element_is_named(net, image):
    with pytest.raises(ValueError, match=r"'neck\[2\]'.*found 2 elements"), Taps(net, ['neck[2]']):
        net(image)


def test_tensor_overwritten_in_place_is_refused(image):
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
    with Taps(net, ['1']) as record:
        net(image)
    with pytest.raises(RuntimeError, match=r"'1'.*overwritten in place"):
        record['1']


def test_tensor_overwritten_inside_a_tuple_is_refused(net, image):
    with Taps(net, ['neck']) as record:
        first, _ = net(image)
    first.detach().zero_()
    with pytest.raises(RuntimeError, match='overwritten'):
        record['neck']


def test_input_of_an_in_place_module_keeps_its_values(image):
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True))
    with Taps(net, ['1:input', '0']) as record:
        out = net(image)
    assert (record['1:input'] < 0).any()
    assert torch.equal(record['1:input'].relu(), out)
    assert torch.equal(record['0'], record['1:input'])


def test_a_module_called_twice_gives_its_last_call(image):
    relu = nn.ReLU()
    net = nn.Sequential(relu, nn.Conv2d(3, 3, 1), relu)
    with Taps(net, ['0']) as record:
        out = net(image)
    assert record['0'] is out


class TestAdditions:
    def test_what_follows_sees_the_sum_and_the_gradient_reaches_the_summand(self, net, image):
        summand = torch.randn(2, 3, 4, 4, requires_grad=True)
        with Additions(net, {'block.conv': lambda: summand}):
            first, _ = net(image)
        expected = ((net.block.conv(image) + summand) * 2 - 1).relu()
        assert torch.equal(first, expected)
        grads = [torch.autograd.grad(x.sum(), summand)[0] for x in (first, expected)]
        assert torch.equal(*grads)

    def test_a_tap_inside_reads_the_sum_and_one_outside_the_tensor_before(self, net, image):
        summand = torch.ones(2, 3, 4, 4)
        with (
            Taps(net, ['block']) as before,
            Additions(net, {'block': lambda: summand}),
            Taps(net, ['block']) as after,
        ):
            net(image)
        assert torch.equal(after['block'], before['block'] + 1)

    def test_no_hook_stays(self, net, image):
        with Additions(net, {'block': lambda: torch.zeros(2, 3, 4, 4)}):
            net(image)
        with pytest.raises(RuntimeError, match='expected input'), Additions(net, {'block': None}):
            net(torch.randn(2, 5, 4, 4))
        assert not net.block._forward_hooks

    @pytest.mark.parametrize('path', ['block:input', 'neck[0]'])
    def test_anything_but_the_output_of_a_module_is_refused(self, net, path):
        with pytest.raises(ValueError, match='output of a module'):
            Additions(net, {path: lambda: torch.zeros(1)})

    def test_unknown_module_names_the_nearest(self, net):
        with pytest.raises(ValueError, match=r"no module 'blok'.*block"):
            Additions(net, {'blok': lambda: torch.zeros(1)})

    def test_nothing_is_broadcast(self, net, image):
        with (
            pytest.raises(RuntimeError, match=r"\(3, 1, 1\).*'block', \(2, 3, 4, 4\)"),
            Additions(net, {'block': lambda: torch.zeros(3, 1, 1)}),
        ):
            net(image)

    def test_a_tuple_is_refused(self, net, image):
        with (
            pytest.raises(RuntimeError, match="'neck', tuple"),
            Additions(net, {'neck': lambda: torch.zeros(1)}),
        ):
            net(image)

    def test_unreached_module_is_named(self, net, image):
        with (
            pytest.raises(RuntimeError, match="added to 'other', which was not reached"),
            Additions(net, {'other': lambda: torch.zeros(1)}),
        ):
            net(image)

    def test_a_module_that_runs_twice_is_refused(self, image):
        relu = nn.ReLU()
        net = nn.Sequential(relu, nn.Conv2d(3, 3, 1), relu)
        with (
            pytest.raises(RuntimeError, match="'0' runs more than once"),
            Additions(net, {'0': lambda: torch.zeros_like(image)}),
        ):
            net(image)


def test_reached_taps_are_in_the_order_of_the_forward(net, image):
    with Taps(net, ['neck', 'other', 'block', 'block.conv']) as record:
        net(image)
    assert record.reached == ['block.conv', 'block', 'neck']
