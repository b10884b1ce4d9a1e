import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, METRICS, Registry
from mmengine.registry import MODELS as MMENGINE_MODELS

from mmkd.cli import export
from mmkd.distillers import Distiller
from mmkd.publish import distiller, has_exits, is_training, load_plain, plain_config, publish
from mmkd.registry import MODELS


@pytest.fixture
def cfg(classifier):
    return Config(
        dict(
            model=dict(
                type='mmkd.OfflineDistiller',
                student=classifier.to_dict(),
                teacher=dict(config='teacher.py', checkpoint='teacher.pth'),
                losses=dict(kd=dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc')),
            ),
            default_scope='mmpretrain',
            default_hooks=dict(
                timer=dict(type='IterTimerHook'),
                checkpoint=dict(type='CheckpointHook', interval=1),
                publish=dict(type='mmkd.PublishStudentHook'),
            ),
            custom_hooks=[dict(type='EMAHook'), dict(type='mmkd.StepSeedHook')],
            custom_imports=dict(imports=['mmkd', 'mine.networks']),
            load_from='somewhere.pth',
        )
    )


def test_plain_config_names_no_distiller_no_teacher_and_no_hook_of_ours(cfg):
    before = cfg.pretty_text
    plain = plain_config(cfg)
    assert 'mmkd' not in plain.pretty_text
    assert 'teacher' not in plain.pretty_text
    assert plain.model.type == 'ImageClassifier'
    assert list(plain.default_hooks) == ['timer', 'checkpoint']
    assert [hook.type for hook in plain.custom_hooks] == ['EMAHook']
    assert 'custom_imports' not in plain
    assert 'load_from' not in plain
    assert cfg.pretty_text == before


def test_the_import_of_mmkd_stays_where_the_student_needs_it(cfg):
    cfg.model.student.backbone.type = 'mmkd.SomeBackbone'
    assert plain_config(cfg).custom_imports.imports == ['mmkd']


def test_a_variable_that_holds_a_term_does_not_stay(cfg):
    cfg.term = dict(type='KLDivergenceLoss', tau=1.0)
    cfg.objective = dict(type='BEEDLoss')
    cfg.norm = dict(type='BN')
    plain = plain_config(cfg)
    assert [name in plain for name in ('term', 'objective', 'norm')] == [False, False, True]


def test_a_plain_config_is_left_alone(classifier):
    cfg = Config(dict(model=classifier.to_dict(), load_from='x.pth'))
    assert plain_config(cfg).pretty_text == cfg.pretty_text


def test_data_preprocessor_of_the_config_goes_to_the_student(cfg):
    own = cfg.model.student.pop('data_preprocessor')
    cfg.data_preprocessor = own
    assert plain_config(cfg).model.data_preprocessor == own


def test_published_files_load_key_by_key(cfg, classifier, tmp_path):
    cfg.custom_imports.imports = ['mmkd']
    weights = MODELS.build(classifier).state_dict()
    checkpoint = dict(
        state_dict={f'student.{k}': v for k, v in weights.items()} | {'losses.a': torch.ones(1)},
        meta=dict(dataset_meta=dict(classes=('a', 'b')), epoch=3, hook_msgs={}),
        optimizer=dict(state={}),
    )
    publish(checkpoint, cfg, tmp_path / 'deep' / 'student.pth')
    assert sorted(p.name for p in (tmp_path / 'deep').iterdir()) == ['student.pth', 'student.py']
    loaded = torch.load(tmp_path / 'deep' / 'student.pth')
    assert loaded['meta']['dataset_meta'] == dict(classes=('a', 'b'))
    assert 'optimizer' not in loaded
    model = MODELS.build(Config.fromfile(tmp_path / 'deep' / 'student.py').model)
    load_plain(model, str(tmp_path / 'deep' / 'student.pth'), 'test')
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


def test_a_bare_state_dict_is_a_checkpoint(cfg, tmp_path):
    publish({'student.a': torch.ones(1), 'losses.b': torch.ones(2)}, cfg, tmp_path / 's.pth')
    assert torch.load(tmp_path / 's.pth')['state_dict'].keys() == {'a'}


def test_a_checkpoint_without_the_student_is_refused(cfg, tmp_path):
    with pytest.raises(ValueError, match=r"no weights under 'student\.'"):
        publish({'backbone.a': torch.ones(1)}, cfg, tmp_path / 's.pth')
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_config_is_not_exported(cfg, tmp_path):
    cfg.custom_imports.imports = ['mmkd']
    cfg.dump(tmp_path / 'config.py')
    torch.save({'student.backbone.conv1.weight': torch.ones(1)}, tmp_path / 'other.pth')
    arguments = [str(tmp_path / name) for name in ('config.py', 'other.pth', 'student.pth')]
    with pytest.raises(
        ValueError, match=r'CHECKPOINT .*other\.pth: .*does not fit ImageClassifier'
    ):
        export.main(arguments)
    assert not list(tmp_path.glob('student*'))


def with_exits(classifier):
    network = dict(model=classifier.to_dict(), exits=[dict(tap='backbone.layer1', type='E')])
    return dict(type='mmkd.MultiExitClassifier', **network), network


def test_a_student_with_exits_is_published_with_or_without_them(cfg, classifier, tmp_path):
    cfg.custom_imports.imports = ['mmkd']
    cfg.model.student, _ = with_exits(classifier)
    cfg.test_evaluator = [dict(type='Accuracy'), dict(type='mmkd.OutputAccuracy')]
    weights = {'student.model.a': torch.ones(1), 'student.exits.0.b': torch.ones(2)}
    publish(weights, cfg, tmp_path / 'student.pth')
    publish(weights, cfg, tmp_path / 'whole.pth', keep_exits=True)
    plain, whole = (Config.fromfile(tmp_path / f'{name}.py') for name in ('student', 'whole'))
    assert plain.model.type == 'ImageClassifier'
    assert [metric.type for metric in plain.test_evaluator] == ['Accuracy']
    assert whole.model.type == 'mmkd.MultiExitClassifier'
    assert [metric.type for metric in whole.test_evaluator] == ['Accuracy', 'mmkd.OutputAccuracy']
    assert torch.load(tmp_path / 'student.pth')['state_dict'].keys() == {'a'}
    assert torch.load(tmp_path / 'whole.pth')['state_dict'].keys() == {'model.a', 'exits.0.b'}


def test_every_peer_is_published(cfg, classifier, tmp_path):
    cfg.custom_imports.imports = ['mmkd']
    _, network = with_exits(classifier)
    cfg.model = dict(type='mmkd.MutualDistiller', networks=[network, network])
    weights = {
        f'networks.{index}.{key}': torch.full((1,), float(index))
        for index in (0, 1)
        for key in ('model.a', 'exits.0.b')
    }
    paths = publish(weights, cfg, tmp_path / 'student.pth')
    assert [path.name for path in paths] == ['student.pth', 'student2.pth']
    for index, path in enumerate(paths):
        assert torch.load(path)['state_dict'] == {'a': torch.tensor([float(index)])}
        assert Config.fromfile(path.with_suffix('.py')).model.type == 'ImageClassifier'


@pytest.fixture
def downstream():
    """A project with a scope, and a distiller that shares no config key and no prefix with ours."""
    registry = Registry('model', parent=MMENGINE_MODELS, scope='downstream')

    @registry.register_module()
    class PairDistiller(Distiller):
        @classmethod
        def whole_students(cls, model):
            return [('small.', model['small']), ('tiny.', model['tiny'])]

        def loss(self, inputs, data_samples):
            return {}

    yield PairDistiller
    MMENGINE_MODELS.children.pop('downstream')


def register(root, name, module):
    """A class of the scope ``downstream`` that lives in ``module``."""
    registry = root.children.get('downstream') or Registry(
        root.name, parent=root, scope='downstream'
    )
    registry.register_module(name=name, module=type(name, (), {'__module__': module}))


@pytest.fixture
def project(cfg, downstream):
    """A distillation whose hooks, metric, variable and imports come from two other packages."""
    register(HOOKS, 'WarmUpHook', 'kdproject.hooks')
    register(HOOKS, 'BlurHook', 'netproject.hooks')
    register(METRICS, 'Agreement', 'kdproject.metrics')
    register(MMENGINE_MODELS, 'Net', 'netproject.nets')
    cfg.default_hooks.warm_up = dict(type='downstream.WarmUpHook')
    cfg.custom_hooks += [dict(type='downstream.WarmUpHook'), dict(type='downstream.BlurHook')]
    cfg.val_evaluator = [dict(type='Accuracy'), dict(type='downstream.Agreement')]
    cfg.test_evaluator = dict(type='downstream.Agreement')
    cfg.temperature = dict(type='downstream.WarmUpHook', start=4)
    cfg.custom_imports.imports = ['kdproject', 'netproject.nets', 'mmkd']
    yield cfg
    for root in (HOOKS, METRICS):
        root.children.pop('downstream')


def test_nothing_of_another_project_stays_that_the_student_does_not_need(project):
    project.test_evaluator = dict(type='Accuracy')
    plain = plain_config(project)
    assert 'downstream' not in plain.pretty_text
    assert 'custom_imports' not in plain
    assert list(plain.default_hooks) == ['timer', 'checkpoint']
    assert [hook.type for hook in plain.custom_hooks] == ['EMAHook']
    assert plain.val_evaluator == [dict(type='Accuracy')]


def test_a_package_in_which_the_network_lives_stays_with_its_hooks(project):
    project.test_evaluator = dict(type='Accuracy')
    project.model.student.backbone = dict(type='downstream.Net')
    plain = plain_config(project)
    assert plain.custom_imports.imports == ['netproject.nets']
    assert [hook.type for hook in plain.custom_hooks] == ['EMAHook', 'downstream.BlurHook']


def test_the_last_metric_stays_with_its_import(project):
    plain = plain_config(project)
    assert plain.test_evaluator == dict(type='downstream.Agreement')
    assert plain.custom_imports.imports == ['kdproject']


def test_a_metric_of_outputs_alone_becomes_that_of_a_plain_model(cfg):
    cfg.val_evaluator = dict(type='mmkd.OutputAccuracy', topk=(1, 5))
    assert plain_config(cfg).val_evaluator == [dict(type='mmpretrain.Accuracy', topk=(1, 5))]


@pytest.mark.parametrize(
    ('save_best', 'rule', 'expected'),
    [
        (['accuracy/net1_top1', 'accuracy/net2_top1'], 'greater', ('accuracy/top1', 'greater')),
        (
            ['accuracy/ensemble_top1', 'accuracy/net2_top1'],
            ['less', 'greater'],
            ('accuracy/top1', 'greater'),
        ),
        (['accuracy/net2_exit1_top1'], 'greater', (None, None)),
        (
            ['accuracy/net2_top5', 'other'],
            ['greater', 'less'],
            (['accuracy/top5', 'other'], ['greater', 'less']),
        ),
    ],
)
def test_a_peer_looks_for_its_best_by_the_metric_that_it_has(
    cfg, classifier, save_best, rule, expected
):
    cfg.model = dict(type='mmkd.MutualDistiller', networks=[dict(model=classifier)] * 2)
    cfg.val_evaluator = [dict(type='Accuracy'), dict(type='mmkd.OutputAccuracy')]
    cfg.default_hooks.checkpoint = dict(save_best=save_best, rule=rule)
    hook = plain_config(cfg, index=1).default_hooks['checkpoint']
    assert (hook.get('save_best'), hook.get('rule')) == expected


def test_data_without_workers_load_in_tools_that_keep_workers(cfg):
    cfg.train_dataloader = dict(num_workers=0)
    cfg.val_dataloader = dict(num_workers=2)
    plain = plain_config(cfg)
    assert plain.train_dataloader.persistent_workers is False
    assert 'persistent_workers' not in plain.val_dataloader


def test_a_published_config_does_not_write_into_the_run_it_comes_from(cfg, tmp_path):
    cfg.work_dir = str(tmp_path)
    publish({'student.a': torch.ones(1)}, cfg, tmp_path / 's.pth')
    assert 'work_dir' not in (tmp_path / 's.py').read_text()


@pytest.mark.parametrize('name', ['downstream.PairDistiller', 'PairDistiller'])
def test_a_distiller_of_another_project_is_published(cfg, classifier, downstream, name, tmp_path):
    cfg.custom_imports.imports = ['mmkd']
    exits, _ = with_exits(classifier)
    cfg.model = dict(type=name, small=exits, tiny=classifier.to_dict())
    if name == 'PairDistiller':
        cfg.default_scope = 'downstream'
    assert distiller(cfg) is downstream
    weights = {
        'small.model.a': torch.zeros(1),
        'small.exits.0.b': torch.zeros(2),
        'tiny.a': torch.ones(1),
    }
    assert is_training(cfg, weights)
    assert has_exits(cfg, weights)
    paths = publish(weights, cfg, tmp_path / 'student.pth')
    for index, path in enumerate(paths):
        assert torch.load(path)['state_dict'] == {'a': torch.tensor([float(index)])}
        assert Config.fromfile(path.with_suffix('.py')).model.type == 'ImageClassifier'


def test_exits_are_seen_in_both_kinds_of_checkpoint(cfg, classifier):
    cfg.model.student, _ = with_exits(classifier)
    one = torch.ones(1)
    for weights, expected in (
        ({'student.model.a': one, 'student.exits.0.b': one}, True),
        ({'model.a': one, 'exits.0.b': one}, True),
        ({'a': one, 'c': one}, False),
    ):
        assert has_exits(cfg, weights) is expected


def test_settings_of_parameters_follow_the_student_that_they_name(cfg, classifier):
    _, network = with_exits(classifier)
    cfg.model = dict(type='mmkd.MutualDistiller', networks=[network, network])
    cfg.find_unused_parameters = True
    keys = {'networks.1.': 1, 'networks.1.model.head': 2, 'networks.0.model.neck': 3, 'bias': 4}
    cfg.optim_wrapper = dict(paramwise_cfg=dict(custom_keys=keys))
    first, second = (plain_config(cfg, index) for index in (0, 1))
    assert first.optim_wrapper.paramwise_cfg.custom_keys == {'neck': 3, 'bias': 4}
    assert second.optim_wrapper.paramwise_cfg.custom_keys == {'': 1, 'head': 2, 'bias': 4}
    assert 'find_unused_parameters' not in first
