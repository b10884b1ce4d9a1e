import copy
import inspect
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

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


def test_parameters_are_read_whether_their_module_runs_or_not(net, image):
    with Taps(net, ['block.conv:weight', 'other.conv:bias']) as record:
        net(image)
    assert record['block.conv:weight'] is net.block.conv.weight
    assert record['other.conv:bias'] is net.other.conv.bias


def test_a_module_without_that_parameter_is_refused(net):
    with pytest.raises(ValueError, match="'block.relu:weight': ReLU has no weight; name a layer"):
        Taps(net, ['block.relu:weight'])


def test_gradient_flows_through_a_tap(net, image):
    with Taps(net, ['block.conv']) as record:
        net(image)
    # conv's output is multiplied into a new tensor, so nothing overwrote it.
    record['block.conv'].sum().backward()
    assert net.block.conv.weight.grad.abs().sum() > 0


def test_nothing_stays_and_the_model_copies_and_pickles(net, image):
    with Taps(net, ['block', 'block.relu:input']):
        net(image)
    for module in net.modules():
        assert 'forward' not in vars(module)
    assert net.block.relu.inplace is True
    assert torch.equal(copy.deepcopy(net)(image)[0], pickle.loads(pickle.dumps(net))(image)[0])


def test_nothing_stays_when_the_forward_raises(net):
    with pytest.raises(RuntimeError), Taps(net, ['block']):
        net(torch.randn(2, 5, 4, 4))
    assert 'forward' not in vars(net.block)


def test_paths_are_parsed_once_and_not_in_every_step(net, image, monkeypatch):
    paths = ['block.conv', 'neck[1]']
    Taps(net, paths)
    monkeypatch.setattr('mmkd.taps._PATH', None)
    with Taps(net, paths) as record:
        net(image)
    assert record.reached == paths


def test_module_under_another_name_is_found_and_keeps_its_signature(net, image):
    class Named(nn.Module):
        first = property(lambda self: self.net.block)

        def __init__(self):
            super().__init__()
            self.net = net

    with Taps(Named(), ['first']) as record:
        assert inspect.signature(net.block.forward) == inspect.signature(Block().forward)
        net(image)
    assert record['first'].shape[0] == len(image)


def test_unknown_path_names_the_nearest(net):
    with pytest.raises(ValueError, match=r"no module 'blok'.*block"):
        Taps(net, ['blok'])


@pytest.mark.parametrize('path', ['', 'block:output', 'neck[a]', 'a..b', None, ['block']])
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


class Shared(nn.Module):
    """A head that all levels share."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.split = Pyramid()

    def forward(self, levels):
        return [self.conv(level) for level in levels], [self.split(level) for level in levels]


class TestCalls:
    @pytest.fixture
    def levels(self):
        return [torch.randn(1, 3, n, n) for n in (4, 2, 1)]

    def test_a_module_that_runs_several_times_gives_all_calls_in_order(self, levels):
        net = Shared()
        with Taps(net, ['conv', 'conv:input', 'split[1]']) as record:
            maps, pairs = net(levels)
        for got, wanted in (
            (record['conv'], maps),
            (record['conv:input'], levels),
            (record['split[1]'], [pair[1] for pair in pairs]),
        ):
            assert isinstance(got, list)
            assert all(a is b for a, b in zip(got, wanted, strict=True))
        assert record.calls == {'conv': 3, 'conv:input': 3, 'split[1]': 3}

    def test_gradient_flows_through_every_call(self, levels):
        net = Shared()
        with Taps(net, ['conv:input', 'conv']) as record:
            net([level.requires_grad_() for level in levels])
        sum(x.sum() for x in record['conv']).backward()
        assert all(level.grad.abs().sum() > 0 for level in levels)

    def test_one_call_can_be_chosen(self, levels):
        net = Shared()
        with Taps(net, ['conv@0', 'conv@-1', 'conv@1:input', 'split@1[0]']) as record:
            maps, pairs = net(levels)
        assert record['conv@0'] is maps[0]
        assert record['conv@-1'] is maps[2]
        assert record['conv@1:input'] is levels[1]
        assert record['split@1[0]'] is pairs[1][0]

    def test_a_call_that_does_not_happen_is_named(self, levels):
        net = Shared()
        with Taps(net, ['conv@3']) as record:
            net(levels)
        with pytest.raises(RuntimeError, match="'conv@3': there is no call @3, found 3"):
            record['conv@3']

    @pytest.mark.parametrize('path', ['conv', 'conv@0'])
    def test_another_number_of_calls_than_prescribed_is_refused(self, levels, path):
        net = Shared()
        for used in (levels, levels[:2]):
            with Taps(net, [path], {path: 2}) as record:
                net(used)
            if len(used) == 2:
                assert record[path] is not None
            else:
                with pytest.raises(RuntimeError, match=f"{path}'.*ran 3 times.*2 times"):
                    record[path]

    def test_any_call_that_is_overwritten_is_refused(self, levels):
        net = Shared()
        with Taps(net, ['conv']) as record:
            maps, _ = net(levels)
        maps[1].detach().zero_()
        with pytest.raises(RuntimeError, match="'conv'.*overwritten"):
            record['conv']

    def test_a_forward_that_is_called_past_the_module_is_seen_once(self, levels):
        net = Shared()
        with Taps(net, ['conv']) as record:
            direct = net.conv.forward(levels[0])
        assert record['conv'] is direct

    def test_what_the_backward_computes_again_is_not_recorded(self, image):
        net = Block()
        with Taps(net, ['conv']) as record:
            out = checkpoint(net, image.requires_grad_(), use_reentrant=True)
        assert not record['conv'].requires_grad
        out.sum().backward()
        assert record.calls == {'conv': 1}


def test_an_input_that_the_module_overwrites_is_refused(image):
    class InPlace(nn.Module):
        def forward(self, x):
            return x.relu_()

    net = nn.Sequential(nn.Conv2d(3, 3, 1), InPlace())
    with Taps(net, ['1:input']) as record:
        net(image)
    with pytest.raises(RuntimeError, match="'1:input'.*overwritten in place"):
        record['1:input']


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

    def test_nothing_stays(self, net, image):
        with Additions(net, {'block': lambda: torch.zeros(2, 3, 4, 4)}):
            net(image)
        with pytest.raises(RuntimeError, match='expected input'), Additions(net, {'block': None}):
            net(torch.randn(2, 5, 4, 4))
        assert 'forward' not in vars(net.block)

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
