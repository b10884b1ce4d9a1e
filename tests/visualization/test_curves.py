"""Curves from logged scalars."""

import json

import pytest
from matplotlib.figure import Figure

from mmkd.visualization.curves import plot_scalar, read_scalars

RECORDS = [
    {'loss': 2.0, 'epoch': 1, 'iter': 10, 'step': 10},
    {'accuracy/top1': 50.0, 'step': 1},
    {'loss': 1.0, 'epoch': 2, 'iter': 20, 'step': 20},
]


def write(folder, records):
    folder = folder / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, records)) + '\n')


def test_the_newest_run_is_read(tmp_path):
    write(tmp_path / '20200101_000000', RECORDS[:1])
    write(tmp_path / '20200102_000000', RECORDS)
    assert read_scalars(tmp_path) == RECORDS


def test_a_folder_without_runs_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        read_scalars(tmp_path)


def test_a_scalar_is_drawn_where_it_was_logged():
    axes = Figure().subplots()
    plot_scalar(axes, RECORDS, 'loss', label='student')
    plot_scalar(axes, RECORDS, 'accuracy/top1')
    loss, accuracy = (line.get_xydata().tolist() for line in axes.lines)
    assert loss == [[10, 2], [20, 1]]
    assert accuracy == [[1, 50]]


def test_an_unlogged_scalar_is_an_error_that_lists_the_logged_ones():
    with pytest.raises(KeyError, match="'loss_kd' was not logged.*accuracy/top1"):
        plot_scalar(Figure().subplots(), RECORDS, 'loss_kd')
