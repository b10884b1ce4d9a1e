"""Curves from logged scalars."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from mmkd.analysis.curves import draw_bars, plot_runs, read_scalars, scalar

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


def test_a_scalar_has_the_steps_it_was_logged_at():
    assert [values.tolist() for values in scalar(RECORDS, 'loss')] == [[10, 20], [2, 1]]
    assert [values.tolist() for values in scalar(RECORDS, 'accuracy/top1')] == [[1], [50]]


def test_an_unlogged_scalar_is_an_error_that_lists_the_logged_ones():
    with pytest.raises(KeyError, match="'loss_kd' was not logged.*accuracy/top1"):
        scalar(RECORDS, 'loss_kd')


def test_several_runs_are_drawn_as_their_mean_in_a_band_of_their_range():
    axes = Figure().subplots()
    other = [{**record, 'loss': record['loss'] + 2} for record in RECORDS if 'loss' in record]
    plot_runs(axes, [RECORDS, other], 'loss', label='student')
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[10, 3], [20, 2]]
    (band,) = axes.collections
    assert np.unique(band.get_paths()[0].vertices, axis=0).tolist() == [
        [10, 2],
        [10, 4],
        [20, 1],
        [20, 3],
    ]


def test_runs_of_different_schedules_have_no_mean():
    with pytest.raises(ValueError, match='different steps'):
        plot_runs(Figure().subplots(), [RECORDS, RECORDS[:1]], 'loss')


def test_bars_are_means_and_whiskers_the_range_of_seeds():
    metrics = dict(teacher=[70.0], student=[20.0, 40.0], distilled=[45.0, 49.0])
    (axes,) = draw_bars({'mAP': metrics}, dict.fromkeys(metrics, 'k')).axes
    assert [bar.get_height() for bar in axes.patches] == [70, 30, 47]
    (whiskers,) = axes.containers[0].lines[2]
    assert [line[:, 1].tolist() for line in whiskers.get_segments()] == [
        [70, 70],
        [20, 40],
        [45, 49],
    ]
