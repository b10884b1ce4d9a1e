"""Images without labels beside labelled ones."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from mmkd.registry import TRANSFORMS


@TRANSFORMS.register_module()
class MarkUnlabelled(BaseTransform):
    """Mark images as without labels, whatever annotations they have or lack.

    An image without objects is a labelled one: that an image has no labels has to be said, by this
    step before packing, which is to have ``'unlabelled'`` among its ``meta_keys``. Terms learn from
    such images, the student's own losses do not (:class:`~mmkd.distillers.OfflineDistiller`).

    Example:
        >>> train_dataloader = dict(dataset=dict(
        ...     _delete_=True,
        ...     type='ConcatDataset',
        ...     datasets=[
        ...         labelled,
        ...         dict(unlabelled, pipeline=[
        ...             *steps,
        ...             dict(type='mmkd.MarkUnlabelled'),
        ...             dict(type='PackDetInputs', meta_keys=('img_shape', ..., 'unlabelled'))])]))
    """

    def transform(self, results: dict) -> dict:
        """Add ``unlabelled``, and to a classifier's image a class, since its batches have one."""
        results['unlabelled'] = True
        if 'instances' not in results:
            results['gt_label'] = np.array(0, dtype=np.int64)
        return results
