# The demo's student with 80 labelled scenes and 320 without labels: PKD learns from all of them.
_base_ = '../demo/scenes_pkd.py'

_labelled = _base_.train_dataloader.dataset
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            _labelled,
            dict(
                _labelled,
                # Other scenes.
                num_images=320,
                seed=1,
                pipeline=[
                    dict(type='LoadImageFromNDArray'),
                    dict(type='Resize', scale=(96, 96), keep_ratio=True),
                    dict(type='mmkd.MarkUnlabelled'),
                    dict(
                        type='PackDetInputs',
                        meta_keys=(
                            'img_id',
                            'ori_shape',
                            'img_shape',
                            'scale_factor',
                            'unlabelled',
                        ),
                    ),
                ],
            ),
        ],
    )
)
