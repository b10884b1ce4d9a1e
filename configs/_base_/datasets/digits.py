data_preprocessor = dict(num_classes=10, mean=[78.1] * 3, std=[95.7] * 3, to_rgb=False)

train_pipeline = [
    dict(type='RandomCrop', crop_size=8, padding=1),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]

# One tensor a batch, not one an image.
_stack = dict(type='default_collate')

# The images lie in memory, and resuming is bit-exact only without workers.
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    collate_fn=_stack,
    dataset=dict(type='mmkd.Digits', split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    collate_fn=_stack,
    dataset=dict(type='mmkd.Digits', split='test', pipeline=test_pipeline, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
