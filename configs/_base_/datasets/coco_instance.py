_base_ = 'mmdet::_base_/datasets/coco_instance.py'

# For an iteration-based loop.
train_dataloader = dict(sampler=dict(type='InfiniteSampler'))
