"""What of a distillation's config a plain student needs: metrics, hooks, variables, imports."""

from __future__ import annotations

import re
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry, root

from mmkd.losses import DistillLoss, ExitLoss
from mmkd.registry import MODELS

_ROOTS = [registry for registry in vars(root).values() if isinstance(registry, Registry)]
_OUTPUTS = 'mmkd.OutputAccuracy'
_STANDARD = {'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'torch', 'torchvision'}
DATA = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_EVALUATORS = ('val_evaluator', 'test_evaluator')
# What a runner builds the student and its training from.
_NEEDED = {
    'model',
    'data_preprocessor',
    *DATA,
    *('train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper', 'param_scheduler', 'visualizer'),
}
_KEPT = {'default_hooks', 'custom_hooks', 'custom_imports', *_EVALUATORS}


def own_metric(key: str, name: str) -> str | None:
    """The plain model's metric that one of mmkd.OutputAccuracy is for the output of that name.

    ``'accuracy/top1'`` for ``'accuracy/net2_top1'`` and ``'net2'``; None if it is another's.
    """
    found = re.fullmatch(rf'(.*/)?{re.escape(name)}_(top\d+)', key)
    return found and (found[1] or '') + found[2]


def keep_own_best(cfg: Config, name: str) -> None:
    """Let CheckpointHook look at metrics that the plain model has."""
    hook = cfg.get('default_hooks', {}).get('checkpoint') or {}
    keys = hook.get('save_best')
    if not keys or not _metrics_of_outputs(cfg):
        return
    keys = [keys] if isinstance(keys, str) else keys
    rules = hook.get('rule')
    # One rule, also in a list, is that of all metrics.
    each = rules if isinstance(rules, list) and len(rules) == len(keys) else [None] * len(keys)
    own = {}
    for key, rule in zip(keys, each, strict=True):
        other = re.fullmatch(rf'({"|".join(_metrics_of_outputs(cfg))})/.+_top\d+', key)
        plain = own_metric(key, name) or (None if other else key)
        if plain is not None:
            own.setdefault(plain, rule)
    if not own:
        hook.pop('save_best')
        hook.pop('rule', None)
        return
    hook.save_best = list(own) if len(own) > 1 else next(iter(own))
    if isinstance(rules, list) and len(rules) > 1:
        hook.rule = list(own.values()) if len(own) > 1 else next(iter(own.values()))


def _metrics_of_outputs(cfg: Config) -> list[str]:
    """Prefixes of the metrics of several outputs."""
    return [
        re.escape(metric.get('prefix') or 'accuracy')
        for metric in _as_list(cfg.get('val_evaluator'))
        if metric.get('type') == _OUTPUTS
    ]


def _as_list(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value] if value else []


def leave_out_strategy(cfg: Config) -> None:
    """Leave sharding, and the runner that reads it, to the training that asked for it."""
    cfg.pop('strategy', None)
    if cfg.get('runner_type') == 'FlexibleRunner':
        cfg.pop('runner_type')


def leave_out_foreign(cfg: Config, keep_exits: bool) -> None:
    """Remove hooks, metrics, variables and imports that the student does not need."""
    scope = cfg.get('default_scope')
    needed = set().union(*(_packages(cfg.get(key), scope) for key in _NEEDED))

    def foreign(value: Any) -> bool:
        return bool(_packages(value, scope) - needed - _STANDARD)

    for name in ('default_hooks', 'custom_hooks'):
        hooks = cfg.get(name)
        if isinstance(hooks, dict):
            cfg[name] = {
                k: v
                for k, v in hooks.items()
                if not foreign(v) and 'mmkd' not in _packages(v, scope)
            }
        elif hooks:
            cfg[name] = [v for v in hooks if not foreign(v) and 'mmkd' not in _packages(v, scope)]
    for name in _EVALUATORS:
        metrics = _as_list(cfg.get(name))
        kept = [
            metric
            for metric in metrics
            if not foreign(metric) and (keep_exits or metric.get('type') != _OUTPUTS)
        ]
        # The plain model's counterpart, where a metric of several outputs was the only one.
        kept = kept or [
            dict(type='mmpretrain.Accuracy', topk=metric.get('topk', (1,)))
            for metric in metrics
            if metric.get('type') == _OUTPUTS
        ]
        if kept and kept != metrics:
            cfg[name] = kept
    for name in cfg.keys() - _NEEDED - _KEPT:
        if foreign(cfg[name]) or _is_term(cfg[name]):
            cfg.pop(name)
    needed |= set().union(*(_packages(cfg.get(key), scope) for key in _EVALUATORS))
    imports = cfg.get('custom_imports')
    if imports:
        imports['imports'] = [
            module for module in _modules(imports) if module.split('.')[0] in needed
        ]
        if not imports['imports']:
            cfg.pop('custom_imports')


def _is_term(value: Any) -> bool:
    """Whether a variable holds a term or an objective, whose type may have no scope."""
    kind = value.get('type') if isinstance(value, dict) else None
    kind = MODELS.get(f'mmkd.{kind}') if isinstance(kind, str) and '.' not in kind else kind
    return isinstance(kind, type) and issubclass(kind, (DistillLoss, ExitLoss))


def _modules(imports: dict) -> list[str]:
    modules = imports['imports']
    return [modules] if isinstance(modules, str) else list(modules)


def _packages(value: Any, scope: str | None) -> set[str]:
    """Top-level packages of all types that a config value names."""
    if isinstance(value, dict):
        scope = value.get('_scope_', scope)
        named = [value[key] for key in ('type', 'constructor') if value.get(key)]
        own = {package for kind in named for package in _origin(kind, scope)}
        return own.union(*(_packages(v, scope) for v in value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*(_packages(v, scope) for v in value))
    return set()


def _origin(kind: Any, scope: str | None) -> set[str]:
    """Packages in which a type is defined; a name can be in several registries."""
    if not isinstance(kind, str):
        return {kind.__module__.split('.')[0]} if isinstance(kind, type) else set()
    given, _, name = kind.rpartition('.')
    found = set()
    for top in _ROOTS:
        registries = [top.children.get(given or scope)]
        if given in ('', 'mmengine'):
            registries.append(top)
        for registry in filter(None, registries):
            registry.import_from_location()
            if name in registry.module_dict:
                package = registry.module_dict[name].__module__.split('.')[0]
                # What mmkd registers there stands for a type of MMEngine's.
                found.add('mmengine' if (package, registry) == ('mmkd', top) else package)
                break
    return found or ({kind.split('.')[0]} if given else set())
