"""How hard each term pulls at the student."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmkd.registry import HOOKS

from .unwrapped import unwrapped


@HOOKS.register_module()
class GradientShareHook(Hook):
    r"""Log the gradient of each term on the student against that of the student's own losses.

    Every ``interval`` iterations the batch of the step, as it was preprocessed, is run once more,
    and for each term i

    .. math:: \text{grad\_share}_i = \frac{\lVert \nabla_\theta L_i \rVert_2}
        {\lVert \nabla_\theta L_\text{student} \rVert_2}

    over the student's parameters is logged as ``grad_share_<name>``, weights and warm-ups included.
    Far above 1 the term alone decides where the student goes, far below it does nothing.

    Costs, an interval, one forward and a backward for each term and for the student's own losses,
    as long as 1.0 to 1.5 steps with one term and 0.4 more with each other (on a CPU): 1 to 2 % of a
    training by the default; nothing between. The training does not change: statistics of norms,
    memory banks and random numbers are put back.

    Args:
        interval (int): Iterations between two measurements. Defaults to 100.

    Raises:
        ValueError: If ``interval`` is below 1.
        TypeError: If what is trained has no terms.

    Example:
        >>> custom_hooks = [dict(type='mmkd.GradientShareHook', interval=100)]
    """

    def __init__(self, interval: int = 100) -> None:
        if interval < 1:
            raise ValueError(f'GradientShareHook.interval={interval}, expected 1 or more')
        self.interval = interval
        self._data: dict[str, Any] = {}
        self._handle: RemovableHandle | None = None

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner)
        if not hasattr(model, 'terms'):
            raise TypeError(
                f'GradientShareHook: a {type(model).__name__} has no terms; remove the hook'
            )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        # Preprocessed anew, the batch would be mixed or resized another way, and mmdet would scale
        # its boxes twice.
        if self.every_n_train_iters(runner, self.interval):
            preprocessor = unwrapped(runner).data_preprocessor
            self._handle = preprocessor.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: Any, data: dict[str, Any]) -> None:
        # The losses of the step may write into the samples.
        self._data = dict(data, data_samples=copy.deepcopy(data['data_samples']))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        self._handle.remove()
        data, self._data = self._data, {}
        model = unwrapped(runner)
        kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices), runner.optim_wrapper.optim_context(runner.model):
            losses = model(**data, mode='loss')
        for name, share in shares(model, losses).items():
            runner.message_hub.update_scalar(f'train/grad_share_{name}', share)
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


def shares(model: nn.Module, losses: dict[str, Any]) -> dict[str, float]:
    """Gradient norm of each term over that of the student's own losses; none without such losses.

    Args:
        model (nn.Module): A distiller with ``terms``.
        losses (dict): What its ``loss`` gave, with graph.
    """
    parameters = [p for p in model.student.parameters() if p.requires_grad]
    terms = {term.key: term.name for term in model.terms}
    own = [v for k, v in losses.items() if 'loss' in k and k not in terms]
    reference = _norm([x for v in own for x in (v if isinstance(v, list) else [v])], parameters)
    if not reference:
        return {}
    norms = {name: _norm([losses[key]], parameters) for key, name in terms.items()}
    return {name: (norm / reference).item() for name, norm in norms.items()}


def _norm(losses: list[Tensor], parameters: list[Tensor]) -> Tensor:
    total = sum(loss.mean() for loss in losses)
    if not isinstance(total, Tensor) or not total.requires_grad:
        return torch.zeros(())
    found = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    norms = [gradient.float().norm() for gradient in found if gradient is not None]
    # A term that is off reaches the parameters of its loss alone.
    return torch.stack(norms).norm() if norms else torch.zeros(())
