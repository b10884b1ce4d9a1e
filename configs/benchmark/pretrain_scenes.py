# Without labels first: the worked example of configs/pretrain.
_base_ = './_base_/coco_metrics.py'

title = 'A backbone from scenes without labels'
prose = """
The demo's teacher teaches its backbone's maps to the backbone of the demo's student on 1,600 scenes
without labels (once, seed 0). Faster R-CNN then learns from few labelled scenes, from that backbone
on or from scratch, for as many steps: 24 epochs of 80 scenes, 96 of 20. The teacher has seen the
labels of 400 scenes. Tested on 100 scenes.
"""
seeds = [0, 1, 2, 3, 4]
teachers = dict(
    scenes_teacher=dict(label='Teacher', config='mmkd::demo/scenes_teacher.py', seconds=160),
    backbone=dict(
        label='Backbone alone, its heads untrained',
        config='mmkd::pretrain/scenes_backbone.py',
        teacher='scenes_teacher',
        seconds=120,
    ),
)
rows = {}
for _images, _epochs in ((80, 24), (20, 96)):
    _options = {
        'train_dataloader.dataset.num_images': _images,
        'train_cfg.max_epochs': _epochs,
        'train_cfg.val_interval': _epochs,
        'param_scheduler.1.T_max': _epochs,
    }
    rows[f'scratch_{_images}'] = dict(
        label=f'{_images} labelled scenes, from scratch',
        config='mmkd::demo/scenes_student.py',
        options=_options,
        seconds=55,
    )
    rows[f'pretrained_{_images}'] = dict(
        label=f'{_images} labelled scenes, from the backbone',
        config='mmkd::pretrain/scenes_student.py',
        # Of a checkpoint of the distiller.
        options={**_options, 'model.backbone.init_cfg.prefix': 'student.backbone.'},
        teacher='backbone',
        teacher_key='model.backbone.init_cfg.checkpoint',
        control=f'scratch_{_images}',
        seconds=55,
    )
