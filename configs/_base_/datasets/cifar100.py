# Pad 4, random crop, flip; mean and std of CIFAR-100, also where the authors' code (ReviewKD, DCM,
# BEED) has CIFAR-10's: a teacher and its student see the same input. The training batch size is
# each schedule's.
_base_ = 'mmpretrain::_base_/datasets/cifar100_bs16.py'

# One tensor a batch, not one an image.
_stack = dict(type='default_collate')
train_dataloader = dict(collate_fn=_stack)
val_dataloader = dict(batch_size=256, collate_fn=_stack)
test_dataloader = val_dataloader
