"""Checkpoints without a training."""

from pathlib import Path

import torch
from mmengine.registry import DefaultScope

from mmkd.engine.config import read_config
from mmkd.publish import plain_model
from mmkd.registry import MODELS


def save_untrained(config, path, prefix=''):
    """Save the weights of a config's plain model as it is initialised; the path."""
    cfg = read_config(config, 'CONFIG')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        weights = MODELS.build(plain_model(cfg)).state_dict()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict={prefix + key: value for key, value in weights.items()}), path)
    return str(path)
