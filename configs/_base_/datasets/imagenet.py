# Random resized crop of 224 and flip; centre crop of 224 from a short edge of 256. The training
# batch size is each schedule's.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs32.py'

# One tensor a batch, not one an image.
_stack = dict(collate_fn=dict(type='default_collate'))
train_dataloader = _stack
val_dataloader = _stack
test_dataloader = _stack
