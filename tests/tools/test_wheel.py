"""The installed package, from another folder and without the clone."""

import os
import re
import subprocess
import sys
import zipfile

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config

DIGITS = ['train_cfg.max_epochs=1', 'train_dataloader.batch_size=256']

# A project with a scope, a loss, a distiller and a hook of its own.
PROJECT = """
import torch.nn.functional as F
from torch import nn
from mmengine.hooks import Hook
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import Registry

from mmkd.distillers import OfflineDistiller
from mmkd.losses import DistillLoss

MODELS = Registry('model', parent=ROOT_MODELS, scope='project')
HOOKS = Registry('hook', parent=ROOT_HOOKS, scope='project')


@MODELS.register_module()
class CosineLoss(DistillLoss):
    def build(self, student, teacher):
        self.embed = nn.Linear(student.shape[1], teacher.shape[1])

    def forward(self, student, teacher, data_samples=None):
        return self.loss_weight * (1 - F.cosine_similarity(self.embed(student), teacher).mean())


@MODELS.register_module()
class Impatient(OfflineDistiller):
    def loss(self, inputs, data_samples):
        return {k: 2 * v for k, v in super().loss(inputs, data_samples).items()}


@HOOKS.register_module()
class Note(Hook):
    def after_train(self, runner):
        runner.logger.info(f'Note: {type(runner.model).__name__}')
"""
CONFIG = """
_base_ = 'mmkd::demo/digits_student.py'
custom_imports = dict(imports=['mmkd', 'project.registry'])
model = dict(
    _delete_=True,
    type='project.Impatient',
    student=_base_.model,
    teacher=dict(config='mmkd::demo/digits_teacher.py', checkpoint='teacher.pth'),
    losses=dict(cosine=dict(type='project.CosineLoss', student='neck[0]', teacher='neck[0]')),
)
custom_hooks = [dict(type='project.Note')]
"""


@pytest.fixture(scope='module')
def wheel(tmp_path_factory, repo):
    """The wheel of the sdist of what git would give away."""
    folder = tmp_path_factory.mktemp('wheel')
    files = subprocess.check_output(
        ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=repo
    )
    subprocess.run(
        ['tar', '--null', '-T', '-', '-cf', folder / 'source.tar'],
        cwd=repo,
        input=files,
        check=True,
    )
    (folder / 'source').mkdir()
    subprocess.run(['tar', '-xf', folder / 'source.tar', '-C', folder / 'source'], check=True)
    setup = [sys.executable, 'setup.py', '-q', 'sdist', '-d', folder]
    subprocess.run(setup, cwd=folder / 'source', check=True)
    (sdist,) = folder.glob('*.tar.gz')
    pip = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation']
    subprocess.run([*pip, '-w', folder, sdist], check=True)
    (path,) = folder.glob('*.whl')
    return path


@pytest.fixture(scope='module')
def site(wheel):
    """A folder of its own that the wheel is installed in."""
    target = wheel.parent / 'site'
    pip = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target', target, wheel]
    subprocess.run(pip, check=True)
    return target


@pytest.fixture
def mmkd(site, tmp_path):
    """``mmkd(COMMAND, ...)`` in an empty folder, with the installed package only."""

    def run(*args):
        done = subprocess.run(
            [sys.executable, site / 'bin' / 'mmkd', *map(str, args)],
            cwd=tmp_path,
            env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': f'{site}:{tmp_path}'},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout + done.stderr

    return run


def test_it_holds_configs_tools_and_the_readme(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read('mmkd-0.1.0.dist-info/METADATA').decode()
    assert {
        'mmkd/py.typed',
        'mmkd/analysis/report.html',
        'mmkd/.mim/model-index.yml',
        'mmkd/.mim/configs/kd/metafile.yml',
        'mmkd/.mim/tools/dist_train.sh',
        'mmkd/.mim/tools/misc/browse_dataset.py',
        'mmkd/.mim/configs/reviewkd/faster_rcnn_r101_r50.py',
        'mmkd/.mim/configs/_base_/pairs/faster_rcnn_r101_r50.py',
    } <= names
    assert not [name for name in names if name.startswith(('tests', 'tools', 'configs'))]
    assert 'Description-Content-Type: text/markdown' in metadata
    assert '# mmkd' in metadata


@pytest.fixture(scope='module')
def teacher(untrained_teacher):
    return untrained_teacher('configs/demo/digits_teacher.py')


def test_a_config_is_trained_and_its_student_tested_by_name_in_an_empty_folder(
    mmkd, teacher, tmp_path
):
    options = [*DIGITS, f'model.teacher.checkpoint={teacher}']
    mmkd('train', 'mmkd::demo/digits_kd.py', '--work-dir', 'kd', '--cfg-options', *options)
    assert 'accuracy/top1' in mmkd('test', 'kd/student.py', 'kd/student.pth', '--work-dir', 'kd')
    assert {path.name for path in tmp_path.iterdir()} == {'kd'}


def test_a_project_of_its_own_scope_trains_and_tests(mmkd, teacher, tmp_path):
    (tmp_path / 'project').mkdir()
    (tmp_path / 'project' / 'registry.py').write_text(PROJECT)
    (tmp_path / 'config.py').write_text(CONFIG)
    (tmp_path / 'teacher.pth').symlink_to(teacher)
    printed = mmkd('train', 'config.py', '--work-dir', 'out', '--cfg-options', *DIGITS)
    assert 'Note: Impatient' in printed
    checkpoint = torch.load(tmp_path / 'out' / 'epoch_1.pth')
    assert 'losses.cosine.embed.weight' in checkpoint['state_dict']
    assert 'train/loss_cosine' in checkpoint['message_hub']['log_scalars']
    published = torch.load(tmp_path / 'out' / 'student.pth')['state_dict']
    assert not any('embed' in key for key in published)
    trained, plain = ('config.py', 'out/epoch_1.pth'), ('out/student.py', 'out/student.pth')
    accuracies = [
        re.findall(r'accuracy/top1: ([\d.]+)', mmkd('test', *files)) for files in (trained, plain)
    ]
    assert accuracies[0] == accuracies[1] != []


def test_a_base_by_name_is_built_in_its_own_scope(tmp_path, repo):
    name = 'reviewkd/faster_rcnn_r101_r50.py'
    (tmp_path / 'config.py').write_text(f"_base_ = 'mmkd::{name}'")
    found = [
        Config.fromfile(tmp_path / 'config.py'),
        get_config(f'mmkd::{name}'),
        Config.fromfile(repo / 'configs' / name),
    ]
    assert found[0].to_dict() == found[1].to_dict() == found[2].to_dict()
