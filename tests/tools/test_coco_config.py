"""The paper's COCO config as it stands, on a small folder in COCO's layout."""

import pytest
import torch
import torchvision
from mmengine.hub import get_config

from mmkd.registry import MODELS

CONFIG = 'configs/reviewkd/faster_rcnn_r101_r50.py'
TEACHER = 'mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'


@pytest.fixture(scope='module')
def torch_home(tmp_path_factory):
    """A cache that has what would be downloaded: ImageNet weights, and the teacher's."""
    folder = tmp_path_factory.mktemp('torch') / 'hub' / 'checkpoints'
    folder.mkdir(parents=True)
    weights = torchvision.models.resnet50().state_dict()
    url = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url
    torch.save(weights, folder / url.rpartition('/')[2])
    cfg = get_config(TEACHER, pretrained=True)
    teacher = MODELS.build(dict(cfg.model, _scope_='mmdet'))
    torch.save(dict(state_dict=teacher.state_dict()), folder / cfg.model_path.rpartition('/')[2])
    return folder.parents[1]


def test_only_data_size_and_length_are_overridden(tool, coco_folder, torch_home, tmp_path):
    ann_file = coco_folder / 'annotations' / 'instances_val2017.json'
    data = [f'{split}_dataloader.dataset.data_root={coco_folder}/' for split in ('val', 'test')]
    data += [f'{split}_evaluator.ann_file={ann_file}' for split in ('val', 'test')]
    data += [f'{split}_dataloader.dataset.pipeline.1.scale=(96,64)' for split in ('val', 'test')]
    options = [
        f'train_dataloader.dataset.data_root={coco_folder}/',
        'train_dataloader.dataset.pipeline.2.scale=(96,64)',
        *data,
        'train_cfg.max_iters=2',
    ]
    work_dir = tmp_path / 'train'
    output = tool(
        'train.py',
        CONFIG,
        '--work-dir',
        work_dir,
        '--cfg-options',
        *options,
        env={'TORCH_HOME': str(torch_home)},
    )
    # Untrained boxes score below the config's threshold, so there may be no mAP to print.
    assert 'Evaluating bbox' in output
    checkpoint = torch.load(work_dir / 'iter_2.pth')
    assert checkpoint['meta']['iter'] == 2
    losses = checkpoint['message_hub']['log_scalars']
    assert {'train/loss_review', 'train/loss_rpn_cls', 'train/loss_cls'} <= losses.keys()
    tool(
        'test.py',
        CONFIG,
        work_dir / 'student.pth',
        '--work-dir',
        tmp_path / 'test',
        '--cfg-options',
        *data,
    )
