# The authors' weight for one-stage students.
levels = ['neck[0]', 'neck[1]', 'neck[2]', 'neck[3]']
term = dict(type='PKDLoss', student=levels, teacher=levels, loss_weight=10.0)
