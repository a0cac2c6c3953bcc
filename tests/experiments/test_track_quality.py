"""The program that measures tracks, on a picture that pans: truth by hand."""

import numpy as np
import pytest

from egojax.metrics import Queries
from tests import moving_clips
from tests.experiment_modules import load


@pytest.fixture(scope="module")
def program():
    return load("track_quality")


@pytest.fixture(scope="module")
def case(program):
    """Six frames that pan by 2 pixels; the third point goes behind a bar, and back."""
    frames, big = [], moving_clips.texture(0, (64, 120))
    start = np.array([[30, 20], [60, 40], [50, 30]], float)
    places, seen = [], np.ones((6, 3), bool)
    for t in range(6):
        frame = big[:, 2 * t : 2 * t + 90].copy()
        if t in (2, 3):
            frame[24:36, 30:60] = moving_clips.texture(5, (12, 30))
            seen[t, 2] = False
        frames.append(frame)
        places.append(start - (2 * t, 0))
    return program.Case(frames, np.stack(places), seen)


def test_points_of_a_picture_that_pans_are_found_by_all(program, case):
    rows = program.measure(case)
    assert [*rows] == [*program.TRACKERS]
    for name, row in rows.items():
        assert [*row] == ["AJ %", "delta %", "OA %", "CPU s"]
        assert row["delta %"] > 60 and row["AJ %"] > 40, name
        # Of 15 frames after the queries, the third point is hidden in two.
        assert row["OA %"] >= 100 * 12 / 15, name


@pytest.mark.parametrize("again", [0, 2])
def test_both_follow_from_the_frame_of_the_query_on(program, case, again):
    queries = Queries(np.array([[0, 30, 20], [3, 54, 40]], float), np.array([0, 1]))
    for tracker in (program.chain, program.lucas_kanade):
        found = tracker(case.frames, queries, again)
        np.testing.assert_allclose(found.places[:4, 1], [[54, 40]] * 4)
        np.testing.assert_allclose(found.places[5, 1], [50, 40], atol=0.5)
        np.testing.assert_allclose(found.places[5, 0], [20, 20], atol=0.5)
        np.testing.assert_array_equal(found.seen[:, 0], [True] * 6)
        np.testing.assert_array_equal(found.seen[:, 1], [False] * 3 + [True] * 3)


def test_without_points_there_is_nothing_to_find(program, case):
    queries = Queries(np.zeros((0, 3)), np.zeros(0, int))
    found = program.lucas_kanade(case.frames, queries)
    assert found.places.shape == (6, 0, 2) and found.seen.shape == (6, 0)
