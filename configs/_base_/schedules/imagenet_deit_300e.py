# DeiT's, as mmpretrain has it: batch 1024, 300 epochs, AdamW, augmentation of its own.
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '../default_runtime_cls.py',
]

# One tensor a batch, not one an image. On each of 4 GPUs; use --auto-scale-lr with another number.
_stack = dict(collate_fn=dict(type='default_collate'))
train_dataloader = dict(_stack, batch_size=256)
val_dataloader = _stack
test_dataloader = _stack
optim_wrapper = dict(
    paramwise_cfg=dict(
        bias_decay_mult=0.0,
        norm_decay_mult=0.0,
        custom_keys={
            '.cls_token': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0),
        },
    ),
    clip_grad=dict(max_norm=5.0),
)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='accuracy/top1', rule='greater'))
