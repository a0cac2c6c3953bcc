"""Grids and windows of point tracks: official numbers, and that nothing is left out."""

import numpy as np
import pytest

from egojax.ops.track_grids import (
    array_items,
    extraction,
    grid_offset,
    grid_points,
    grid_shape,
)


@pytest.mark.parametrize(
    ("x", "shape"), [(0, (120, 214)), (1, (120, 214)), (2, (120, 213)), (3, (120, 213))]
)
def test_the_official_grids(x, shape):
    assert grid_shape((480, 854), (x, 0)) == shape


def test_the_official_offsets():
    """Spec 10.7."""
    found = [grid_offset(frame) for frame in (0, 1, 2, 3, 4, 5, 16)]
    assert found == [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1), (0, 0)]


@pytest.mark.parametrize("stride", [1, 3, 4])
@pytest.mark.parametrize("size_hw", [(7, 10), (4, 4), (2, 1)])
def test_grids_of_a_round_of_frames_have_each_pixel_once(size_hw, stride):
    grids = []
    for frame in range(5, 5 + stride**2):
        offset = grid_offset(frame, stride)
        grids.append(grid_points(size_hw, offset, stride))
        assert len(grids[-1]) == np.prod(grid_shape(size_hw, offset, stride))
    found = np.concatenate(grids)
    assert found.dtype == np.float32
    y, x = np.indices(size_hw)
    every = {(a + 0.5, b + 0.5) for a, b in zip(x.ravel(), y.ravel(), strict=True)}
    assert len(found) == len(every)
    assert {tuple(row) for row in found.tolist()} == every


def test_points_come_row_by_row_from_the_centre_of_the_first_pixel():
    found = grid_points((6, 8), (1, 2))
    np.testing.assert_array_equal(found, [[1.5, 2.5], [5.5, 2.5]])


@pytest.mark.parametrize(
    ("num_frames", "frame", "most", "expected"),
    [
        (10, 0, 100, (0, 10, 0, (7,))),
        (10, 9, 100, (0, 10, 9, (2,))),
        (120, 30, 100, (0, 101, 30, (23, 37))),
        (120, 60, 100, (10, 111, 50, (43, 57))),
        (120, 119, 100, (19, 120, 100, (93,))),
        (101, 3, 100, (0, 101, 3, (0, 10))),
        (12, 5, 4, (3, 8, 2, (0, 4))),
        (1, 0, 100, (0, 1, 0, ())),
    ],
)
def test_the_official_windows_and_support_frames(num_frames, frame, most, expected):
    """Spec 10.7; of one frame the official tool fails."""
    assert extraction(num_frames, frame, most) == expected


@pytest.mark.parametrize("most", [1, 2, 4, 7])
def test_every_window_holds_its_frame_and_is_inside_the_clip(most):
    for num_frames in range(1, 12):
        for frame in range(num_frames):
            found = extraction(num_frames, frame, most)
            assert found.first + found.query == frame
            assert 0 <= found.first <= frame < found.stop <= num_frames
            assert found.stop - found.first == min(num_frames, most + 1)


@pytest.mark.parametrize("frame", [-1, 5])
def test_a_frame_that_is_not_there_is_an_error(frame):
    with pytest.raises(ValueError, match=f"frame {frame} of 5"):
        extraction(5, frame)


def test_a_job_array_gets_the_official_items_and_all_of_them():
    """Spec 10.7: 11 items, task 5, from 3 on, 4 tasks."""
    items = range(11)
    assert list(array_items(items, 5, 3, 4)) == [2, 6, 10]
    dealt = [k for task in range(3, 7) for k in array_items(items, task, 3, 4)]
    assert sorted(dealt) == list(items)
    with pytest.raises(ValueError, match="task 7 of 4 from 3 on"):
        array_items(items, 7, 3, 4)
