"""Read intermediate tensors of a model by module path, and add to them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

_PATH = re.compile(
    r'(?P<module>\w+(\.\w+)*)(@(?P<call>-?\d+))?(:(?P<what>input|weight|bias))?(?P<indices>(\[\d+\])*)'
)


class Tap:
    """One parsed tap path.

    ==========================================  ==========================================
    path                                        what is read
    ==========================================  ==========================================
    ``'backbone.layer2'``                       the output of that submodule
    ``'neck'``                                  its output; a tuple stays a tuple
    ``'neck[0]'``                               one element of it
    ``'head.fc:input'``                         the first positional input
    ``'roi_head.bbox_roi_extractor:input[1]'``  the second positional input
    ``'bbox_head.retina_cls@0'``                the output of its first call alone
    ``'backbone.layer1.2.relu@-1:input'``       the input of its last call alone
    ``'backbone.layer1.2.bn2:weight'``          its parameter ``weight``, or ``:bias``
    ==========================================  ==========================================

    A module that runs once in a forward gives what the table says; one that runs n times, such as a
    head that all levels share or the ReLU of a residual block, gives a list of that, one entry a
    call in the order of the calls.

    Args:
        path (str): The path.

    Raises:
        ValueError: If the path cannot be parsed.
    """

    def __init__(self, path: str) -> None:
        match = _PATH.fullmatch(path) if isinstance(path, str) else None
        if match is None:
            raise ValueError(
                f'tap {path!r} cannot be read; expected a module path such as '
                "'backbone.layer2', 'neck[0]', 'head.fc:input', 'a.b:input[1]' or 'a.b@0[1]'"
            )
        self.path = path
        self.module: str = match['module']
        self._names = self.module.split('.')
        self.call = None if match['call'] is None else int(match['call'])
        self.is_input = match['what'] == 'input'
        self.parameter = None if self.is_input else match['what']
        indices = [int(i) for i in re.findall(r'\d+', match['indices'])]
        if self.is_input and not indices:
            indices = [0]
        self.indices = indices

    def pick(self, value: Any) -> Any:
        """What is tapped of the positional inputs or the output of one call.

        Raises:
            ValueError: If there is no such element.
        """
        for index in self.indices:
            if not isinstance(value, (tuple, list)) or index >= len(value):
                found = f'{len(value)} elements' if isinstance(value, (tuple, list)) else 'one'
                raise ValueError(f'tap {self.path!r}: there is no element [{index}], found {found}')
            value = value[index]
        return value

    def find(self, model: nn.Module) -> nn.Module:
        """Return the tapped submodule of ``model``.

        Raises:
            ValueError: If there is no such submodule, and then the message has the nearest names,
                or it has no such parameter.
        """
        found: nn.Module | None = model
        for name in self._names:
            # Attributes of modules take ten times as long.
            found = None if found is None else found._modules.get(name)
        if found is None:
            with suppress(AttributeError):
                found = model.get_submodule(self.module)
        if found is not None:
            if self.parameter and not isinstance(getattr(found, self.parameter, None), Tensor):
                raise ValueError(
                    f'tap {self.path!r}: {type(found).__name__} has no {self.parameter}; name a '
                    'layer that has one, such as a batch norm'
                )
            return found
        names = dict(model.named_modules())
        near = difflib.get_close_matches(self.module, names, n=5, cutoff=0.5)
        parent = self.module.rpartition('.')[0]
        near += [n for n in names if n.rpartition('.')[0] == parent and n not in near][:5]
        raise ValueError(
            f'tap {self.path!r}: {type(model).__name__} has no module {self.module!r}; '
            f'nearest names: {", ".join(n for n in near if n) or "none"}'
        )


_parsed = lru_cache(maxsize=None)(Tap)


def parse(path: str) -> Tap:
    """The :class:`Tap` of a path, made once: a run reads the same few in every step.

    Raises:
        ValueError: If the path cannot be parsed.
    """
    return _parsed(path) if isinstance(path, str) else Tap(path)


class _AllReached(BaseException):
    """Ends a forward of which nothing more is needed."""


class Taps:
    """Record tapped tensors of a model while the context is open.

    The ``forward`` of a tapped module is wrapped inside the context only, so a model can be
    deep-copied, pickled and compiled outside of it, and what is computed again in the backward is
    not recorded. Not a hook: mmdet calls ``head.forward(x)``, which passes hooks by. The record can
    be read after the context is closed. A module that works in place (``ReLU(inplace=True)``) and
    whose *input* is tapped runs out of place meanwhile, so that the tapped tensor keeps its values.

    Args:
        model (nn.Module): The model.
        paths (sequence of str): Tap paths, see :class:`Tap`.
        calls (dict[str, int], optional): How often the modules of some taps have to run. None is
            prescribed by default.
        stop (bool): Whether the forward ends, and with it the context, when the modules of all taps
            have run as often as ``calls`` says. Defaults to False.
        given (Callable, optional): What is given of a tapped value. Defaults to None, the value.

    Raises:
        ValueError: If a path cannot be parsed or names no module of ``model``.

    Example:
        >>> with Taps(model, ['backbone.layer2', 'head.fc:input']) as record:
        ...     losses = model(inputs, data_samples, mode='loss')
        >>> feature = record['backbone.layer2']
    """

    @torch.compiler.disable
    def __init__(
        self,
        model: nn.Module,
        paths: Sequence[str],
        calls: Mapping[str, int] | None = None,
        stop: bool = False,
        given: Callable[[Any], Any] | None = None,
    ) -> None:
        self._taps = {path: parse(path) for path in paths}
        self._modules = {path: tap.find(model) for path, tap in self._taps.items()}
        self._expected = calls or {}
        self._given = given or _same
        #: Calls that are still to come, where the forward ends with the last; else None.
        self._left = None
        if stop and self._taps.keys() <= self._expected.keys():
            self._left = sum(self._expected[path] for path in self._taps)
        self._records: dict[str, list[tuple[Any, list[tuple[Tensor, int]]]]] = {}
        self._undo: list[Callable[[], object]] = []

    @torch.compiler.disable
    def __enter__(self) -> Taps:
        for path, tap in self._taps.items():
            module, called = self._modules[path], partial(self._called, tap)
            if tap.parameter:
                called(getattr(module, tap.parameter))
                continue
            if not tap.is_input:
                self._undo.append(_wrap(module, after=called))
                continue
            if vars(module).get('inplace') is True:
                module.inplace = False
                self._undo.append(partial(setattr, module, 'inplace', True))
            self._undo.append(_wrap(module, before=called))
        return self

    @torch.compiler.disable
    def __exit__(self, *exc_info: object) -> None:
        _undo(self._undo)

    def _called(self, tap: Tap, value: Any) -> Any:
        self._keep(tap.path, tap.pick(value))
        if self._left is not None:
            self._left -= 1
            if self._left == 0 and not tap.parameter:
                raise _AllReached
        return value

    def _keep(self, path: str, value: Any) -> None:
        versions = []
        # A compiled forward knows no versions: that of the dummy images is never compiled. Nor do
        # tensors of torch.inference_mode.
        if not torch.compiler.is_compiling():
            versions = [(t, t._version) for t in tensors(value) if not t.is_inference()]
        self._records.setdefault(path, []).append((value, versions))

    @property
    def reached(self) -> list[str]:
        """The taps that were reached, in the order of their first call."""
        return list(self._records)

    @property
    def calls(self) -> dict[str, int]:
        """How often the module of each tap ran."""
        return {path: len(records) for path, records in self._records.items()}

    @torch.compiler.disable
    def __getitem__(self, path: str) -> Any:
        """Return what was tapped at ``path``; of a module that ran several times, a list.

        Raises:
            RuntimeError: If the tap was not reached, its module ran more or less often than
                prescribed, or its tensor was overwritten in place since.
        """
        records = self._records.get(path, [])
        count = len(records)
        if count != self._expected.get(path, count):
            raise RuntimeError(
                f'tap {path!r}: the module ran {count} times in this forward pass and '
                f'{self._expected[path]} times in that of the dummy images; tap one that runs '
                'equally often for all images'
            )
        if not count:
            raise RuntimeError(
                f'tap {path!r} was not reached in the forward pass; tap a module that runs'
            )
        call = self._taps[path].call
        if call is not None:
            if not -count <= call < count:
                raise RuntimeError(f'tap {path!r}: there is no call @{call}, found {count}')
            records = [records[call]]
        if any(tensor._version != version for _, kept in records for tensor, version in kept):
            raise RuntimeError(
                f'tap {path!r}: the tensor was overwritten in place after it was tapped; tap the '
                "input of the module that overwrites it (such as '...relu:input'), its output, or "
                'set inplace=False there'
            )
        values = [self._given(value) for value, _ in records]
        return values[0] if len(values) == 1 else values


class Additions:
    """Add tensors to the outputs of submodules while the context is open.

    What comes after a submodule, a :class:`Taps` opened inside this context included, sees the sum.
    Its own output is not changed in place.

    Args:
        model (nn.Module): The model.
        summands (dict[str, Callable]): Module path to a function without arguments that returns
            what to add, called when the submodule has run.

    Raises:
        ValueError: If a path cannot be parsed, names no module of ``model``, or more than a module.
        RuntimeError: In the forward, if shapes differ or a submodule runs twice; at the end of the
            context, if one did not run.

    Example:
        >>> with Additions(model, {'backbone.layer2': lambda: feature}):
        ...     losses = model(inputs, data_samples, mode='loss')
    """

    def __init__(self, model: nn.Module, summands: Mapping[str, Callable[[], Tensor]]) -> None:
        for tap in map(parse, summands):
            if tap.path != tap.module:
                raise ValueError(
                    f'{tap.path!r}: tensors are added to the output of a module; give the path of '
                    f'one, such as {tap.module!r}'
                )
        self._summands = dict(summands)
        self._modules = {path: parse(path).find(model) for path in summands}
        self._undo: list[Callable[[], object]] = []

    def __enter__(self) -> Additions:
        self._waiting = set(self._modules)
        for path, module in self._modules.items():
            self._undo.append(_wrap(module, after=partial(self._add, path)))
        return self

    def __exit__(self, error: type[BaseException] | None, *exc_info: object) -> None:
        _undo(self._undo)
        if error is None and self._waiting:
            raise RuntimeError(
                f'nothing was added to {min(self._waiting)!r}, which was not reached in the '
                'forward pass; name a module that runs'
            )

    def _add(self, path: str, output: Any) -> Tensor:
        if path not in self._waiting:
            raise RuntimeError(f'{path!r} runs more than once in a forward pass; add elsewhere')
        self._waiting.remove(path)
        summand = self._summands[path]()
        found = getattr(output, 'shape', None)
        if found != summand.shape:
            raise RuntimeError(
                f'a tensor of shape {tuple(summand.shape)} cannot be added to the output of '
                f'{path!r}, {type(output).__name__ if found is None else tuple(found)}'
            )
        return output + summand


def until_reached(forward: Callable[..., object], *args: Any) -> None:
    """Call ``forward``, which a :class:`Taps` opened with ``stop=True`` may end early."""
    # In a frame of its own, which torch.compile sees whole.
    with suppress(_AllReached):
        forward(*args)


def _same(value: Any) -> Any:
    return value


def _wrap(
    module: nn.Module,
    before: Callable[[tuple], Any] = _same,
    after: Callable[[Any], Any] = _same,
) -> Callable[[], None]:
    """Let ``before`` see the positional inputs of every call; ``after`` may replace the output.

    Returns:
        Callable: What undoes it; of several, the last first.
    """
    inner, attributes = module.forward, vars(module)
    own = attributes.get('forward')

    def forward(*args: Any, **kwargs: Any) -> Any:
        before(args)
        return after(inner(*args, **kwargs))

    # For the signature.
    forward.__wrapped__ = inner
    # Past nn.Module, which takes microseconds to see that this is no parameter.
    attributes['forward'] = forward
    if own is None:
        return partial(attributes.pop, 'forward')
    return partial(attributes.__setitem__, 'forward', own)


def _undo(steps: list[Callable[[], object]]) -> None:
    while steps:
        steps.pop()()


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors(item)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
