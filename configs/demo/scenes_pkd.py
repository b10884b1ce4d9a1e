_base_ = './scenes_reviewkd.py'

# The student starts from the teacher's neck and heads, as in FGD's and MGD's configs, and learns to
# feed them.
model = dict(
    init_student=True,
    losses=dict(
        _delete_=True,
        pkd=dict(type='PKDLoss', student='neck', teacher='neck', loss_weight=6.0),
    ),
)
