"""A project outside the package registers a loss of its own and trains with it."""

import pytest
import torch

LOSS = """
import torch.nn.functional as F
from torch import nn

from mmkd.losses import DistillLoss
from mmkd.registry import MODELS


@MODELS.register_module()
class CosineLoss(DistillLoss):
    def build(self, student, teacher):
        self.embed = nn.Linear(student.shape[1], teacher.shape[1])

    def forward(self, student, teacher, data_samples=None):
        return self.loss_weight * (1 - F.cosine_similarity(self.embed(student), teacher).mean())
"""
CONFIG = """
_base_ = '{repo}/configs/demo/digits_student.py'
custom_imports = dict(imports=['mmkd', 'myproject.losses'])
model = dict(
    _delete_=True,
    type='mmkd.OfflineDistiller',
    student=_base_.model,
    teacher=dict(config='{repo}/configs/demo/digits_teacher.py', checkpoint='{teacher}'),
    losses=dict(cosine=dict(type='CosineLoss', student='neck[0]', teacher='neck[0]')),
)
"""


@pytest.fixture
def project(tmp_path, untrained_teacher, repo):
    (tmp_path / 'myproject').mkdir()
    (tmp_path / 'myproject' / '__init__.py').write_text('')
    (tmp_path / 'myproject' / 'losses.py').write_text(LOSS)
    teacher = untrained_teacher('configs/demo/digits_teacher.py')
    (tmp_path / 'config.py').write_text(CONFIG.format(repo=repo, teacher=teacher))
    return tmp_path


def test_its_loss_is_built_trained_and_dropped_at_deployment(tool, project):
    env = {'PYTHONPATH': f'{project}'}
    tool(
        'train.py',
        project / 'config.py',
        '--work-dir',
        project / 'out',
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=256',
        env=env,
        cwd=project,
    )
    checkpoint = torch.load(project / 'out' / 'epoch_1.pth')
    assert 'losses.cosine.embed.weight' in checkpoint['state_dict']
    assert 'train/loss_cosine' in checkpoint['message_hub']['log_scalars']
    published = torch.load(project / 'out' / 'student.pth')['state_dict']
    assert not any('embed' in key for key in published)
