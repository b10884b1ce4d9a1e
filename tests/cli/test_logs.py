"""What docs/howto/logs.md says to write into a config is logged."""

import itertools
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from mmengine.registry import DefaultScope

from mmkd import cli
from mmkd.engine.config import read_config
from mmkd.publish import plain_model
from mmkd.registry import MODELS

DEMO = 'mmkd::demo'
PAGE = Path(__file__).parents[2] / 'docs/howto/logs.md'
#: Package and what is imported of it, by backend.
BACKENDS = dict(
    TensorboardVisBackend=('tensorboard', 'torch.utils.tensorboard'),
    WandbVisBackend=('wandb', 'wandb'),
    MLflowVisBackend=('mlflow', 'mlflow'),
)
STEPS = 3


def block():
    """The lines for the config."""
    (found,) = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
    return found


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    """``start(lines)`` trains the digits for three steps by a config with more lines."""
    folder = tmp_path_factory.mktemp('logs')
    cfg = read_config(f'{DEMO}/digits_teacher.py', 'CONFIG')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.save(MODELS.build(plain_model(cfg)).state_dict(), folder / 'teacher.pth')

    count = itertools.count()

    def run(lines):
        # Loggers and visualizers are found by their names.
        name = f'{folder.name}_{next(count)}'
        (folder / 'config.py').write_text(
            f'_base_ = {DEMO + "/digits_kd.py"!r}\n'
            f'model = dict(\n'
            f'    teacher=dict(checkpoint={str(folder / "teacher.pth")!r}),\n'
            '    losses=dict(kd=dict(warmup=10, by_epoch=False)))\n'
            'default_hooks = dict(logger=dict(interval=1))\n'
            "custom_hooks = [dict(type='mmkd.GradientShareHook', interval=1)]\n"
            f'train_dataloader = dict(batch_size={1347 // STEPS})\n'
            'train_cfg = dict(max_epochs=1, val_interval=1)\n'
            f'experiment_name = {name!r}\n{lines}'
        )
        work_dir = folder / name
        options = ['--work-dir', str(work_dir), '--cfg-options', f'visualizer.name={name}']
        cli.run('train', [str(folder / 'config.py'), *options])
        return work_dir

    return run


@pytest.fixture(scope='module')
def logged(start):
    """Where the run is, and what stood in for the packages that would need a network."""
    with pytest.MonkeyPatch.context() as patch:
        stubs = {name: MagicMock() for name in ('wandb', 'mlflow')}
        for name, stub in stubs.items():
            patch.setitem(sys.modules, name, stub)
        if find_spec('tensorboard') is None:
            patch.setitem(sys.modules, 'torch.utils.tensorboard', MagicMock())
        return SimpleNamespace(work_dir=start(block()), **stubs)


#: Of every step, and of the validation.
TRAINING = ('loss', 'loss_student', 'loss_kd', 'weight_kd', 'grad_share_kd', 'lr')
VALIDATION = 'accuracy/top1'


def test_tensorboard_has_losses_weights_and_metrics(logged):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = logged.work_dir.rglob('events.out.tfevents.*')
    reader = EventAccumulator(str(events.parent)).Reload()
    for name in TRAINING:
        assert [point.step for point in reader.Scalars(name)] == [1, 2, 3], name
    weights = [point.value for point in reader.Scalars('weight_kd')]
    assert weights == pytest.approx([0.09, 0.18, 0.27])
    assert len(reader.Scalars(VALIDATION)) == 1


def names(calls):
    """What was logged by these calls of ``log({name: value})``."""
    return {name for call in calls for name in call.args[0]}


def test_wandb_and_mlflow_are_given_the_same(logged):
    assert logged.wandb.init.call_args.kwargs['project'] == 'my_project'
    logged.mlflow.set_experiment.assert_called_with('my_project')
    assert names(logged.wandb.log.call_args_list) >= {*TRAINING, VALIDATION}
    assert names(logged.mlflow.log_metrics.call_args_list) >= {*TRAINING, VALIDATION}


def test_scalars_that_pages_name_are_there(logged):
    (file,) = logged.work_dir.glob('*/vis_data/scalars.json')
    text = file.read_text()
    rows = re.findall(r'^\| (`.*?) \|', PAGE.read_text(), re.MULTILINE)
    found = [name for row in rows for name in re.findall('`(.*?)`', row)]
    assert len(found) > 9
    elsewhere = {'loss_cls', 'loss_bbox', 'grad_norm', 'coco/bbox_mAP', 'memory'}
    for name in set(found) - elsewhere:
        assert f'"{name.replace("<term>", "kd")}"' in text, name


@pytest.mark.parametrize('backend', BACKENDS)
def test_a_package_that_is_missing_is_named_in_a_sentence(backend, start, monkeypatch, capsys):
    assert backend in block()
    package, module = BACKENDS[backend]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit):
        start(f"visualizer = dict(vis_backends=[dict(type='{backend}')])")
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(rf'mmkd train: .*pip install .*{package}.*', said)
