_base_ = './digits_teacher.py'

# Two of four stages, a quarter of the channels: 2,942 parameters instead of 701,466.
model = dict(
    backbone=dict(
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(1,),
        stem_channels=4,
        base_channels=4,
    ),
    head=dict(in_channels=8),
)
