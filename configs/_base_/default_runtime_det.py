_base_ = 'mmdet::_base_/default_runtime.py'

custom_imports = dict(imports=['mmkd'])
default_hooks = dict(
    check_data=dict(type='mmkd.CheckDataHook'),
    check_finite=dict(type='mmkd.CheckFiniteHook'),
    publish=dict(type='mmkd.PublishStudentHook'),
    step_seed=dict(type='mmkd.StepSeedHook'),
)
