"""Runs of visible frames, and windows thinned: by hand, by loops, at their limits."""

import numpy as np
import pytest

from egojax.methods.window_runs import runs_of, thinned
from egojax.types import WindowTracks

SIZE = (20, 40)


def _window(places, seen, first=0, query=0, size_hw=SIZE) -> WindowTracks:
    frames = np.arange(first, first + len(places), dtype=np.int32)
    return WindowTracks(
        np.asarray(places, np.float32), np.asarray(seen, bool), frames, query, size_hw
    )


def _random(seed: int, first=0, frames=7, count=30) -> WindowTracks:
    rng = np.random.default_rng(seed)
    places = rng.uniform((-4, -2), (44, 22), (frames, count, 2))
    return _window(places, rng.uniform(size=(frames, count)) < 0.7, first, frames // 2)


def _by_loop(window, num_frames, size_hw):
    """(first, places) of each run, point by point."""
    (high, wide), (h, w) = size_hw, window.size_hw
    runs = []
    for n in range(window.tracks_xy.shape[1]):
        current = None
        for t, frame in enumerate(window.frames):
            x, y = window.tracks_xy[t, n] * np.float32([wide / w, high / h])
            inside = 0 <= x < wide and 0 <= y < high and 0 <= frame < num_frames
            if window.visibility[t, n] and inside:
                if current is None:
                    current = (int(frame), [])
                    runs.append(current)
                current[1].append((x, y))
            else:
                current = None
    return runs


@pytest.mark.parametrize(("seed", "first", "size"), [(0, 0, SIZE), (1, 3, (40, 60))])
def test_runs_are_those_of_a_loop(seed, first, size):
    window = _random(seed, first)
    found, want = runs_of(window, 8, size), _by_loop(window, 8, size)
    assert len(want) > 20
    np.testing.assert_array_equal(found.first, [first for first, _ in want])
    np.testing.assert_array_equal(found.count, [len(places) for _, places in want])
    places = [place for _, run in want for place in run]
    np.testing.assert_allclose(found.xy, places, rtol=1e-6)


def test_a_point_that_comes_back_is_another_track():
    places = np.full((5, 1, 2), 6.0)
    window = _window(places, [[1], [1], [0], [1], [1]], first=2, query=1)
    tracks = thinned([window], 10, SIZE, 6)
    np.testing.assert_array_equal(tracks.first, [2, 5])
    np.testing.assert_array_equal(tracks.count, [2, 2])
    assert tracks.size_hw == SIZE and tracks.xy.shape == (4, 2)


def test_a_cell_that_shows_a_point_gets_no_other_one():
    """Two of the second window's points are in cells that the first one holds."""
    first = _window(np.tile([[5.0, 5.0]], (3, 1, 1)), np.ones((3, 1)))
    places = np.tile([[4.0, 4.0], [5.5, 1.0], [20.0, 5.0], [21.0, 5.5]], (3, 1, 1))
    second = _window(places, np.ones((3, 4)), query=1)
    tracks = thinned([first, second], 3, SIZE, 6)
    np.testing.assert_array_equal(tracks.xy[::3], [[5, 5], [20, 5]])
    # A cell is free again once the first point is lost.
    lost = _window(np.tile([[5.0, 5.0]], (3, 1, 1)), [[1], [0], [0]])
    assert len(thinned([lost, second], 3, SIZE, 6)) == 3


def test_every_cell_has_one_point_at_most_in_the_frame_it_is_taken_in():
    tracks = thinned([_random(seed) for seed in range(3)], 7, SIZE, 5)
    assert len(tracks) > 20 and (tracks.count >= 1).all()
    assert ((tracks.xy >= 0) & (tracks.xy < (40, 20))).all()
    window = _random(0)
    one = thinned([window], 7, SIZE, 5)
    _, places = one.at(int(window.frames[window.query]))
    cells = np.floor(places / 5).astype(int)
    assert len(np.unique(cells, axis=0)) == len(cells)


@pytest.mark.parametrize("seen", [np.zeros((4, 3)), np.zeros((4, 0))])
def test_nothing_seen_is_no_track(seen):
    window = _window(np.full((*seen.shape, 2), 5.0), seen)
    assert len(thinned([window], 4, SIZE, 6)) == 0
    assert len(thinned([], 4, SIZE, 6)) == 0


def test_one_point_is_one_track():
    tracks = thinned([_window(np.full((4, 1, 2), 5.0), np.ones((4, 1)))], 4, SIZE, 6)
    assert (tracks.first.tolist(), tracks.count.tolist()) == ([0], [4])


def test_frames_that_are_left_out_are_refused():
    window = _window(np.full((2, 1, 2), 5.0), np.ones((2, 1)))
    bad = WindowTracks(
        *(window.tracks_xy, window.visibility), np.array([0, 2]), 0, SIZE
    )
    with pytest.raises(ValueError, match="expected all from"):
        runs_of(bad, 5, SIZE)
