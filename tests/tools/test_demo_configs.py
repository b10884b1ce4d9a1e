"""The ReviewKD demo config through the tools: resume, publishing, several processes."""

import numpy as np
import pytest
import torch

CONFIG = 'configs/demo/scenes_reviewkd.py'


@pytest.fixture(scope='module')
def options(scenes_teacher, small_scenes):
    return [
        '--cfg-options',
        f'model.teacher.checkpoint={scenes_teacher}',
        *small_scenes,
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=1',
        'default_hooks.checkpoint.max_keep_ckpts=-1',
    ]


@pytest.fixture(scope='module')
def trained(tool, options, tmp_path_factory):
    """Work dir of two epochs in one go."""
    work_dir = tmp_path_factory.mktemp('trained')
    tool('train.py', CONFIG, '--work-dir', work_dir, *options)
    return work_dir


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(
    tool, options, trained, tmp_path
):
    tool('train.py', CONFIG, '--work-dir', tmp_path, '--resume', trained / 'epoch_1.pth', *options)
    assert not (tmp_path / 'epoch_1.pth').exists()
    whole, resumed = (torch.load(d / 'epoch_2.pth') for d in (trained, tmp_path))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert same(whole[part], resumed[part]), part
    first = torch.load(trained / 'epoch_1.pth')
    assert not same(first['state_dict'], whole['state_dict'])


def test_a_checkpoint_has_student_adapters_and_optimizer_and_no_teacher(trained):
    checkpoint = torch.load(trained / 'epoch_2.pth')
    assert {key.split('.')[0] for key in checkpoint['state_dict']} == {'student', 'losses'}
    assert {'optimizer', 'param_schedulers', 'message_hub'} <= checkpoint.keys()


def test_both_kinds_of_checkpoint_give_the_same_number_without_a_teacher(
    tool, trained, metrics, tmp_path, small_scenes
):
    results = []
    for i, (config, checkpoint) in enumerate(
        [
            (CONFIG, trained / 'epoch_2.pth'),
            (CONFIG, trained / 'student.pth'),
            (trained / 'student.py', trained / 'student.pth'),
        ]
    ):
        work_dir = tmp_path / str(i)
        small = small_scenes if config == CONFIG else []
        tool(
            'test.py',
            config,
            checkpoint,
            '--work-dir',
            work_dir,
            *(['--cfg-options', *small, 'model.teacher.checkpoint=no/such/file'] if small else []),
        )
        results.append({k: v for k, v in metrics(work_dir).items() if 'time' not in k})
    assert results[0] == results[1] == results[2]
    assert 'coco/bbox_mAP' in results[0]


def test_plain_mmdet_loads_the_published_student(trained):
    from mmdet.apis import inference_detector, init_detector
    from mmengine.config import Config

    cfg = Config.fromfile(trained / 'student.py')
    assert cfg.model.type == 'FasterRCNN'
    assert 'teacher' not in cfg.pretty_text
    model = init_detector(cfg, str(trained / 'student.pth'), device='cpu')
    published = torch.load(trained / 'student.pth')
    assert published['state_dict'].keys() == model.state_dict().keys()
    assert model.dataset_meta['classes'] == tuple('0123456789')
    pipeline = [
        dict(type='LoadImageFromNDArray'),
        dict(type='Resize', scale=(96, 96)),
        dict(type='PackDetInputs'),
    ]
    cfg.test_dataloader.dataset.pipeline = pipeline
    model.cfg = cfg
    assert len(inference_detector(model, np.zeros((96, 96, 3), np.uint8)).pred_instances) >= 0


def test_export_of_any_checkpoint_and_no_overwriting(tool, trained, tmp_path):
    out = tmp_path / 'first.pth'
    tool('export_student.py', CONFIG, trained / 'epoch_1.pth', out)
    weights = torch.load(trained / 'epoch_1.pth')['state_dict']
    exported = torch.load(out)['state_dict']
    assert exported
    assert same(
        exported,
        {k.removeprefix('student.'): v for k, v in weights.items() if k.startswith('student.')},
    )
    assert (tmp_path / 'first.py').exists()
    before = out.read_bytes()
    refused = tool('export_student.py', CONFIG, trained / 'epoch_2.pth', out, ok=False)
    assert '--force' in refused
    assert out.read_bytes() == before
    tool('export_student.py', CONFIG, trained / 'epoch_2.pth', out, '--force')
    assert out.read_bytes() != before


def test_two_processes_on_gloo_train_and_test(
    tool, options, tmp_path, metrics, small_scenes, free_port
):
    once = 'train_cfg.max_epochs=1'
    tool('dist_train.sh', CONFIG, 2, '--work-dir', tmp_path / 'train', *options, once)
    checkpoint = torch.load(tmp_path / 'train' / 'epoch_1.pth')
    # 8 images in batches of 2 on each of 2 processes.
    assert checkpoint['meta']['iter'] == 2
    student = tmp_path / 'train' / 'student.pth'
    tool(
        'dist_test.sh',
        CONFIG,
        student,
        2,
        '--work-dir',
        tmp_path / 'two',
        '--cfg-options',
        *small_scenes,
        env={'PORT': str(free_port)},
    )
    tool('test.py', CONFIG, student, '--work-dir', tmp_path / 'one', '--cfg-options', *small_scenes)
    two, one = metrics(tmp_path / 'two'), metrics(tmp_path / 'one')
    assert two['coco/bbox_mAP'] == one['coco/bbox_mAP']


def test_mistakes_on_the_command_line_end_in_a_sentence(tool, tmp_path, options):
    common = [CONFIG, '--work-dir', tmp_path]
    output = tool('train.py', *common, '--cfg-options', 'trian_cfg.max_epochs=1', ok=False)
    assert "has no key 'trian_cfg'; nearest: train_cfg" in output
    missing = 'model.teacher.checkpoint=no/such/file.pth'
    output = tool('train.py', *common, '--cfg-options', missing, ok=False)
    assert 'model.teacher.checkpoint' in output


@pytest.mark.full
@pytest.mark.skipif(torch.cuda.is_available(), reason='there --amp is in float16')
def test_amp_on_a_cpu_is_in_bfloat16_which_mmcv_lacks(tool, tmp_path, options):
    digits = ('configs/demo/digits_student.py', '--work-dir', tmp_path / 'digits', '--amp')
    tool('train.py', *digits, '--cfg-options', 'train_cfg.max_epochs=1')
    weights = torch.load(tmp_path / 'digits/epoch_1.pth')['state_dict'].values()
    assert torch.float32 in {weight.dtype for weight in weights}
    assert torch.bfloat16 not in {weight.dtype for weight in weights}
    scenes = (CONFIG, '--work-dir', tmp_path / 'scenes', '--amp')
    output = tool('train.py', *scenes, *options, ok=False)
    assert 'FasterRCNN runs an operator of mmcv that has no bfloat16' in output
