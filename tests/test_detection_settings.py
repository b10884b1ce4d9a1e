"""The configs of detection methods have the numbers that their authors' files have.

Sources are in the README of each folder. A row says how long and at what rate a student trains, the
norm its gradient is clipped to, whether it starts from the teacher's neck and heads, the end of the
name of the teacher's published weights, and what the term has.
"""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.optim import build_optim_wrapper

from mmkd.recipes import DETECTION
from mmkd.recipes import anatomy as kinds
from mmkd.registry import MODELS

CONFIGS = Path(__file__).parents[1] / 'configs'

ANCHOR_BASED = dict(temp=0.5, alpha_fgd=1e-3, beta_fgd=5e-4, gamma_fgd=5e-4, lambda_fgd=5e-6)
ANCHOR_FREE = dict(temp=0.5, alpha_fgd=1.6e-3, beta_fgd=8e-4, gamma_fgd=8e-4, lambda_fgd=8e-6)
TWO_STAGE = dict(temp=0.5, alpha_fgd=5e-5, beta_fgd=2.5e-5, gamma_fgd=5e-5, lambda_fgd=5e-7)
CONVS = dict.fromkeys(('student', 'teacher'), [f'neck.fpn_convs.{i}.conv' for i in range(5)])
NECK = dict.fromkeys(('student', 'teacher'), 'neck')
FOUR = dict.fromkeys(('student', 'teacher'), [f'neck[{i}]' for i in range(4)])
MGD_ONE, MGD_TWO = (
    dict(alpha_mgd=2e-5, lambda_mgd=0.65),
    dict(alpha_mgd=5e-7, lambda_mgd=0.45),
)
LD = dict(student=['bbox_head[0]', 'bbox_head[1]'], teacher='bbox_head[1]')
FGFI = dict(NECK, loss_weight=0.01, begin=400, by_epoch=False)

#: One of each method, in `make test`.
ROWS = {
    'fgd/fcos_r101_r50_2x.py': (24, 0.01, 35, True, '511424d6', dict(ANCHOR_FREE, temp=0.8)),
    'mgd/retinanet_x101_r50_2x.py': (24, 0.01, 35, True, '022c2187', NECK | MGD_ONE),
    'pkd/faster_rcnn_r101_r50_2x.py': (
        24,
        0.02,
        None,
        False,
        '1d2dac9c',
        FOUR | {'loss_weight': 6},
    ),
    'cwd/gfl_r101_r50_cls_head.py': (12, 0.01, None, False, 'dd12f847', dict(loss_weight=5, tau=1)),
    'ld/gfl_r101_dcn_r101_2x.py': (24, 0.01, None, False, '134b07df', LD),
    'fgfi/faster_rcnn_r101_r50.py': (180000, 0.01, None, False, '1d2dac9c', FGFI),
}
#: The others, in `make test-all`.
MORE = {
    'fgd/retinanet_x101_r50_2x.py': (24, 0.01, 35, True, '366f5af1', NECK | ANCHOR_BASED),
    'fgd/retinanet_r101_r50_2x.py': (24, 0.01, 35, True, '5560aee8', NECK | ANCHOR_BASED),
    'fgd/retinanet_x101_r101_2x.py': (24, 0.01, 35, True, '366f5af1', NECK | ANCHOR_BASED),
    'fgd/gfl_r101_r50.py': (12, 0.01, 35, True, 'dd12f847', NECK | ANCHOR_BASED),
    'fgd/faster_rcnn_r101_r50_2x.py': (24, 0.02, 35, True, '1d2dac9c', FOUR | TWO_STAGE),
    'fgd/mask_rcnn_r101_r50_2x.py': (24, 0.02, 35, True, '14b391c7', FOUR | TWO_STAGE),
    **{
        f'fgd/cascade_mask_rcnn_x101_{student}_2x.py': (
            *(24, 0.02, 35, False, 'e75f90c8'),
            FOUR | TWO_STAGE,
        )
        for student in ('faster_rcnn_r50', 'faster_rcnn_r101', 'mask_rcnn_r50')
    },
    'fgd/reppoints_x101_r50_2x.py': (24, 0.01, 35, True, 'f87da1ea', CONVS | ANCHOR_FREE),
    'fgd/reppoints_x101_r101_2x.py': (24, 0.01, 35, True, 'f87da1ea', CONVS | ANCHOR_FREE),
    'fgd/reppoints_r101_r50_2x.py': (24, 0.01, 35, True, '4fbc7310', CONVS | ANCHOR_FREE),
    'mgd/reppoints_x101_r50_2x.py': (24, 0.01, 35, True, 'f87da1ea', CONVS | MGD_ONE),
    **{
        f'mgd/cascade_mask_rcnn_x101_{student}_r50_2x.py': (
            *(24, 0.02, 35, False, 'e75f90c8'),
            FOUR | MGD_TWO,
        )
        for student in ('faster_rcnn', 'mask_rcnn')
    },
    'pkd/retinanet_x101_r50_2x.py': (24, 0.01, None, False, '366f5af1', FOUR | {'loss_weight': 10}),
    'pkd/reppoints_x101_r50_2x.py': (24, 0.01, None, False, 'f87da1ea', FOUR | {'loss_weight': 10}),
    'pkd/fcos_x101_retinanet_r50_1x.py': (
        *(12, 0.01, None, False, 'ede514a8'),
        FOUR | dict(loss_weight=10),
    ),
    'pkd/mask_rcnn_swin_s_retinanet_r50_2x.py': (
        *(24, 0.01, None, False, 'b92c91f1'),
        FOUR | dict(loss_weight=6, resize_student=True),
    ),
    'cwd/retinanet_x101_r50_2x.py': (24, 0.01, None, False, '366f5af1', FOUR | {'loss_weight': 5}),
    'cwd/retinanet_r101_r50_1x.py': (12, 0.01, None, False, '5560aee8', NECK | {'loss_weight': 10}),
    'cwd/faster_rcnn_r101_r50_1x.py': (
        *(12, 0.02, None, False, '1d2dac9c'),
        NECK | dict(loss_weight=10),
    ),
    'cwd/gfl_r101_r50_neck.py': (12, 0.01, None, False, 'dd12f847', NECK | {'loss_weight': 10}),
    **{f'ld/gfl_r101_r{n}.py': (12, 0.01, None, False, 'dd12f847', LD) for n in (18, 34, 50)},
}


@pytest.mark.parametrize(
    ('name', 'row'),
    [*ROWS.items(), *(pytest.param(*item, marks=pytest.mark.full) for item in MORE.items())],
    ids=[*ROWS, *MORE],
)
def test_numbers_are_those_of_the_authors_files(name, row):
    length, rate, clip, init, weights, expected = row
    cfg = Config.fromfile(CONFIGS / name)
    loop, optim = cfg.train_cfg, cfg.optim_wrapper
    assert loop.get('max_epochs', loop.get('max_iters')) == length
    assert cfg.param_scheduler[1].milestones[0] / length == pytest.approx(2 / 3)
    assert optim.optimizer.lr == rate
    assert (optim.get('clip_grad') or {}).get('max_norm') == clip
    assert cfg.model.get('init_student', False) == init
    path = get_config(cfg.model.teacher.config, pretrained=True).model_path
    assert path.endswith(f'{weights}.pth')
    (term,) = cfg.model.losses.values()
    assert {key: term[key] for key in expected} == expected


#: Weight and rate of the released configs of ReviewKD.
RELEASED = {
    'retinanet_r101_r50': (1.0, 0.005),
    'faster_rcnn_r101_r50': (1.0, 0.01),
    'faster_rcnn_r101_r18': (1.2, 0.01),
    'faster_rcnn_r50_mv2': (2.0, 0.01),
    'mask_rcnn_r101_r50': (0.8, 0.01),
    'mask_rcnn_r101_r18': (1.5, 0.01),
    'mask_rcnn_r50_mv2': (1.0, 0.01),
}


def of_reviewkd(name):
    """The config at the supplement's settings and at the released ones."""
    return [Config.fromfile(CONFIGS / 'reviewkd' / f'{name}{end}.py') for end in ('', '_released')]


@pytest.mark.parametrize(
    'name',
    ['retinanet_r101_r50', *(pytest.param(n, marks=pytest.mark.full) for n in list(RELEASED)[1:])],
)
def test_released_settings_of_reviewkd_differ_from_the_supplements_as_its_page_says(name):
    both = of_reviewkd(name)
    weights = [cfg.model.losses.review.loss_weight for cfg in both]
    rates = [cfg.optim_wrapper.optimizer.lr for cfg in both]
    assert (weights, rates) == ([0.5, RELEASED[name][0]], [0.01, RELEASED[name][1]])
    assert '3x' in both[1].model.teacher.config
    pipelines = [cfg.train_dataloader.dataset.pipeline for cfg in both]
    steps = [[step.type for step in pipeline] for pipeline in pipelines]
    assert steps[1] == [{'Resize': 'RandomChoiceResize'}.get(step, step) for step in steps[0]]
    resize = pipelines[1][steps[1].index('RandomChoiceResize')]
    assert [tuple(scale) for scale in resize.scales] == [(1333, n) for n in range(640, 801, 32)]


@pytest.mark.full
@pytest.mark.parametrize('name', RELEASED)
def test_released_settings_freeze_the_students_norms_and_do_not_decay_the_fusions(
    name, monkeypatch
):
    monkeypatch.setattr('mmkd.distillers.teacher.load_plain', lambda *args: {})
    _, cfg = of_reviewkd(name)
    model = MODELS.build(cfg.model)
    norms = [m for m in model.student.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decays = {id(p): g['weight_decay'] for g in optimizer.param_groups for p in g['params']}
    convolution, norm = model.losses['review'].fusions[0].expand
    assert decays[id(norm.weight)] == decays[id(norm.bias)] == 0
    assert decays[id(convolution.weight)] == 1e-4


def test_distill_writes_the_numbers_of_the_authors_files():
    """Of `mmkd distill`, by the kind of the student; RepPoints' temperature, not FCOS's."""
    fgd, mgd = DETECTION['fgd'], DETECTION['mgd']
    for kind, weights in (
        (kinds.TWO_STAGE, TWO_STAGE),
        (kinds.ANCHOR_BASED, ANCHOR_BASED),
        (kinds.ANCHOR_FREE, ANCHOR_FREE),
    ):
        assert {**fgd.arguments, **fgd.by_kind[kind]} == weights
        assert mgd.by_kind[kind] == (MGD_TWO if kind == kinds.TWO_STAGE else MGD_ONE)
