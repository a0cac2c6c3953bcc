"""Windows of tracks: what is known stays, what is not moves with what is around it."""

import numpy as np
import pytest

from egojax.methods.track_windows import (
    TrackWindows,
    draw_points,
    lengthened,
    smoothed,
    window_around,
)
from egojax.ops.trajectories import smooth_tracks
from egojax.types import PointTracks

HW = (50, 100)


def tracks_of(paths: dict[tuple[int, int], list]) -> PointTracks:
    """From (first frame, a number) -> places."""
    first = np.array([t for t, _ in paths], np.int32)
    count = np.array([len(path) for path in paths.values()], np.int32)
    xy = np.concatenate([np.reshape(path, (-1, 2)) for path in paths.values()])
    return PointTracks(first, count, xy.astype(np.float32), HW)


def moving(num_frames, seed=0, num=40, whole=False) -> tuple[PointTracks, np.ndarray]:
    """Points that all move by the same path, seen in parts; all places (T, n, 2)."""
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(size=(num_frames, 1, 2)), 0)
    places = rng.uniform(10, 40, (1, num, 2)) + path
    ends = np.sort(rng.integers(0, num_frames + 1, (num, 2)), axis=1)
    ends[:, 1] = np.maximum(ends[:, 1], ends[:, 0] + 1).clip(max=num_frames)
    ends[:, 0] = np.minimum(ends[:, 0], num_frames - 1)
    if whole:
        ends[:] = 0, num_frames
    else:
        ends[0] = 0, num_frames  # Something is tracked in every frame.
    parts = {(int(a), n): places[a:b, n] for n, (a, b) in enumerate(ends)}
    return tracks_of(parts), places


@pytest.mark.parametrize("seed", range(3))
def test_points_of_one_motion_are_guessed_where_they_really_are(seed):
    tracks, places = moving(30, seed)
    for frame in (0, 4, 15, 29):
        found = window_around(tracks, frame, 5, 30)
        seen, here = tracks.at(frame)
        expected = places[found.frames][:, seen]
        np.testing.assert_allclose(found.tracks_xy, expected, atol=1e-4)
        np.testing.assert_array_equal(found.tracks_xy[found.query], here)
        assert found.frames[found.query] == frame and len(found.frames) == 11
        assert found.size_hw == HW and found.tracks_xy.dtype == np.float32
        for k, n in enumerate(seen):
            age = found.frames - tracks.first[n]
            is_seen = (age >= 0) & (age < tracks.count[n])
            np.testing.assert_array_equal(found.visibility[:, k], is_seen)


def test_a_lost_point_goes_on_with_what_is_nearest():
    """By hand: five points to the left drift left, five to the right go down."""
    paths = {}
    for n in range(5):
        paths[0, n] = [(10 - t, 10 + n) for t in range(6)]
        paths[0, 5 + n] = [(80, 10 + n + 2 * t) for t in range(6)]
    paths[0, 10] = [(12, 12), (11, 12)]  # Lost after frame 1.
    paths[4, 11] = [(82, 18), (82, 20)]  # Begins in frame 4.
    tracks = tracks_of(paths)
    found = window_around(tracks, 1, 1, 6)
    np.testing.assert_allclose(found.tracks_xy[:, 10], [(12, 12), (11, 12), (10, 12)])
    np.testing.assert_array_equal(found.visibility[:, 10], [True, True, False])
    found = window_around(tracks, 4, 2, 6)  # Shifted: frames 1 .. 5.
    assert found.query == 3
    expected = [(82, 12), (82, 14), (82, 16), (82, 18), (82, 20)]
    np.testing.assert_allclose(found.tracks_xy[:, -1], expected)


def test_a_point_alone_stays_where_it_was_last():
    tracks = tracks_of({(1, 0): [(3, 4), (5, 6)]})
    found = window_around(tracks, 1, 2, 5)
    places = [(3, 4), (3, 4), (5, 6), (5, 6), (5, 6)]
    np.testing.assert_array_equal(found.tracks_xy[:, 0], places)
    assert found.visibility[:, 0].tolist() == [False, True, True, False, False]
    empty = window_around(tracks, 4, 2, 5)
    assert empty.tracks_xy.shape == (5, 0, 2) and empty.visibility.shape == (5, 0)


def test_a_short_clip_is_reflected():
    tracks, places = moving(5, whole=True)
    found = window_around(tracks, 1, 4, 5)
    np.testing.assert_array_equal(found.frames, [2, 1, 0, 1, 2, 3, 4, 3, 2])
    assert found.frames[found.query] == 1
    np.testing.assert_allclose(found.tracks_xy, places[found.frames], atol=1e-5)
    with pytest.raises(ValueError, match="5 frames; a window of 41 needs 19 or more"):
        window_around(tracks, 1, 20, 5)


def test_what_is_known_stays_as_it_is_and_guesses_reach_so_far():
    tracks, _ = moving(20, seed=1)
    longer = lengthened(tracks, 3, 20)
    np.testing.assert_array_equal(longer.first, np.maximum(tracks.first - 3, 0))
    stop = np.minimum(tracks.first + tracks.count + 3, 20)
    np.testing.assert_array_equal(longer.first + longer.count, stop)
    for t in range(20):
        seen, here = tracks.at(t)
        also, there = longer.at(t)
        np.testing.assert_array_equal(there[np.isin(also, seen)], here)
    same = lengthened(tracks, 0, 20)
    np.testing.assert_array_equal(same.xy, tracks.xy)
    nothing = PointTracks(*np.zeros((2, 0), np.int32), np.zeros((0, 2), "f4"), HW)
    assert len(lengthened(nothing, 3, 20)) == 0
    with pytest.raises(ValueError, match="tracks leave the clip of 19 frames"):
        lengthened(tracks, 3, 19)


def test_smoothing_is_that_of_whole_tracks():
    tracks, places = moving(30, whole=True, num=6)
    expected = np.asarray(smooth_tracks(places.astype(np.float32)))
    found = smoothed(tracks).xy.reshape(6, 30, 2)
    np.testing.assert_allclose(found, expected.swapaxes(0, 1), atol=1e-4)
    windows = TrackWindows(tracks, 5, 30, smooth=11)
    for frame in (0, 14, 29):
        window = windows.around(frame)
        np.testing.assert_allclose(window.tracks_xy, expected[window.frames], atol=1e-4)
    with pytest.raises(ValueError, match="length=4; expected an odd number"):
        smoothed(tracks, 4)


def test_smoothing_knows_no_other_track():
    tracks = tracks_of({(0, 0): [(0, 0), (3, 3)], (0, 1): [(90, 9)] * 3})
    found = smoothed(tracks, 3).xy
    np.testing.assert_allclose(found[:2], 1.5)
    np.testing.assert_allclose(found[2:], [(90, 9)] * 3)


def test_of_many_points_some_are_drawn_once():
    valid = np.arange(100) % 2 == 1
    rows, weights = draw_points(valid, 20, np.random.default_rng(0))
    assert len(set(rows.tolist())) == 20 and (rows % 2 == 1).all()
    np.testing.assert_array_equal(weights, np.ones(20, np.float32))
    again, _ = draw_points(valid, 20, np.random.default_rng(0))
    np.testing.assert_array_equal(rows, again)
    other, _ = draw_points(valid, 20, np.random.default_rng(1))
    assert (rows != other).any()


def test_of_few_points_all_are_there_and_the_missing_are_weights():
    valid = np.zeros(30, bool)
    valid[[3, 7, 9]] = True
    rows, weights = draw_points(valid, 12, np.random.default_rng(0))
    np.testing.assert_array_equal(rows[:3], [3, 7, 9])
    assert weights.sum() == 12 and (weights[:3] >= 1).all()
    assert not weights[3:].any() and rows.shape == weights.shape == (12,)
    exact, ones = draw_points(valid, 3, np.random.default_rng(0))
    assert sorted(exact) == [3, 7, 9] and ones.tolist() == [1, 1, 1]
    for nothing in (np.zeros(5, bool), np.zeros(0, bool)):
        _, weights = draw_points(nothing, 4, np.random.default_rng(0))
        assert not weights.any() and len(weights) == 4
