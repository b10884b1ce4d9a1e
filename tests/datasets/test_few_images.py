"""Few images of every class."""

import cv2
import numpy as np
import pytest

from mmkd.datasets import FewImages


@pytest.fixture
def folder(tmp_path):
    for name, count in (('cat', 4), ('dog', 3)):
        (tmp_path / name).mkdir()
        for index in range(count):
            cv2.imwrite(str(tmp_path / name / f'{index}.png'), np.zeros((2, 2, 3), np.uint8))
    return tmp_path


@pytest.mark.parametrize('per_class', [1, 3])
def test_each_class_has_its_first_images(folder, per_class):
    dataset = FewImages(data_root=str(folder), per_class=per_class)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    found = [(info['gt_label'], info['img_path'][-5:]) for info in infos]
    assert found == [(label, f'{i}.png') for label in range(2) for i in range(per_class)]
    assert dataset.CLASSES == ('cat', 'dog')


def test_more_than_there_are_and_none_are_refused(folder):
    with pytest.raises(ValueError, match=r'per_class=4, but a class in .* has 3 images'):
        FewImages(data_root=str(folder), per_class=4)
    with pytest.raises(ValueError, match='per_class must be 1 or more, found per_class=0'):
        FewImages(data_root=str(folder), per_class=0)
