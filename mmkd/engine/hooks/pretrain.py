"""A phase of pre-training before the first epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice

import torch
from mmengine.dist import all_reduce_params, get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.runner import Runner

from mmkd.modes import evaluating
from mmkd.registry import HOOKS

from .unwrapped import unwrapped


@contextmanager
def _frozen(model: torch.nn.Module, path: str) -> Iterator[None]:
    """Leave a module as it is."""
    try:
        module = model.get_submodule(path)
    except AttributeError as error:
        raise ValueError(
            f'PretrainHook.frozen has {path!r}, which is no module of {type(model).__name__}; give '
            "a path such as 'student.backbone.layer1'"
        ) from error
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    with evaluating(module):
        yield
    for parameter in parameters:
        parameter.requires_grad_(True)


@HOOKS.register_module()
class PretrainHook(Hook):
    """Minimise some terms alone before training starts, with an optimizer of their own.

    A term whose loss has a ``pretrain_loss`` (FactorTransferLoss, an auto-encoder of the teacher's
    features) trains its own layers on the teacher's side, and is a usual term afterwards. Any other
    term is trained through the student, without the student's own loss (ABLoss, FSPLoss); give it
    ``end=0`` where it counts in this phase only. Training then starts with a fresh optimizer and
    schedule.

    The phase has no checkpoints of its own. A run stopped within it starts it again, also with
    ``--resume``; a run resumed from a checkpoint does not repeat it. The log says which.

    Args:
        losses (sequence of str): The terms, keys of ``model.losses``.
        length (int): Length of the phase.
        by_epoch (bool): Whether ``length`` counts epochs or iterations. Defaults to True.
        optimizer (dict, optional): Config of the optimizer. Defaults to that of
            ``optim_wrapper``. The learning rate is constant, and ``--auto-scale-lr`` does not
            change it.
        frozen (sequence of str): Modules of the distiller that this phase leaves as they are,
            running statistics included, such as ``'student.backbone.tail'``. Defaults to none.

    Raises:
        ValueError: If there is no term or no step.

    Example:
        >>> custom_hooks = [dict(type='mmkd.PretrainHook', losses=['ab'], length=30)]
    """

    # Before hooks that look at the weights that training starts from.
    priority = 'HIGH'

    def __init__(
        self,
        losses: Sequence[str],
        length: int,
        by_epoch: bool = True,
        optimizer: dict | None = None,
        frozen: Sequence[str] = (),
    ) -> None:
        if not losses or isinstance(losses, str):
            raise ValueError(f'PretrainHook.losses must be a list of names, found {losses!r}')
        if length < 1:
            raise ValueError(f'PretrainHook.length must be positive, found {length}')
        self.losses = list(losses)
        self.length = length
        self.by_epoch = by_epoch
        self.optimizer = optimizer
        self.frozen = frozen

    def before_train(self, runner: Runner) -> None:
        if runner.iter > 0:
            runner.logger.info(
                f'Pre-training of {self.losses} is not repeated: training goes on at iteration '
                f'{runner.iter}'
            )
            return
        model = unwrapped(runner)
        if not hasattr(model, 'pretrain_losses'):
            raise TypeError(
                f'PretrainHook needs a distiller with terms, found {type(model).__name__}'
            )
        cfg = dict(runner.cfg.optim_wrapper)
        if self.optimizer is not None:
            cfg['optimizer'] = self.optimizer
        modules = [loss for name, loss in model.losses.items() if name in self.losses]
        with ExitStack() as stack:
            for loss in modules:
                if hasattr(loss, 'pretraining'):
                    stack.enter_context(loss.pretraining())
            model.train()
            for path in self.frozen:
                stack.enter_context(_frozen(model, path))
            optim_wrapper = build_optim_wrapper(model, cfg)
            epoch_length = len(runner.train_dataloader)
            steps = self.length * epoch_length if self.by_epoch else self.length
            # The last step updates, whatever is left to accumulate.
            optim_wrapper.initialize_count_status(model, 0, steps)
            runner.logger.info(
                f'Pre-training of {self.losses} starts: {steps} steps without a checkpoint; a run '
                'stopped before their end starts them again'
            )
            for start in range(0, steps, epoch_length):
                stop = min(start + epoch_length, steps)
                means = self._run_epoch(runner, model, optim_wrapper, start, stop)
                runner.logger.info(
                    f'Pre-training [{stop}/{steps}]  '
                    + '  '.join(f'{key}: {value:.4f}' for key, value in means.items())
                )

    def _run_epoch(
        self,
        runner: Runner,
        model: torch.nn.Module,
        optim_wrapper: OptimWrapper,
        start: int,
        stop: int,
    ) -> dict[str, float]:
        """Take the steps from start to stop, within an epoch; return the means of the terms."""
        loader = runner.train_dataloader
        if hasattr(loader.sampler, 'set_epoch'):
            loader.sampler.set_epoch(start // len(loader))
        totals: dict[str, torch.Tensor] = {}
        # The sampler of an iteration-based loop never ends.
        for data in islice(loader, stop - start):
            data = model.data_preprocessor(data, training=True)
            with optim_wrapper.optim_context(model):
                losses = model.pretrain_losses(**data, names=self.losses)
            loss = optim_wrapper.scale_loss(sum(losses.values()))
            optim_wrapper.backward(loss)
            if optim_wrapper.should_update():
                if get_world_size() > 1:
                    # Past DDP, which would wait for gradients of parameters that have none here.
                    all_reduce_params(
                        [p.grad for p in model.parameters() if p.grad is not None], op='mean'
                    )
                optim_wrapper.step()
                optim_wrapper.zero_grad()
            for key, value in losses.items():
                totals[key] = totals.get(key, 0) + value.detach()
        return {key: value.item() / (stop - start) for key, value in totals.items()}
