"""Windows of published track files: which points, where, and when they are seen."""

import numpy as np
import pytest

from egojax.errors import FrameError
from egojax.methods.file_windows import FileWindows
from egojax.ops.trajectories import smooth_tracks, window
from egojax.types import Source, WindowTracks

FRAMES, SIZE = 12, (48, 85)


def place(n, t):
    """Point n moves by n / 8 a frame; as floats hold it."""
    return np.stack(np.broadcast_arrays(4.0 + n + t * n / 8, 3.0 + n - t / 4), -1)


def files(reach=FRAMES, points=5, hide=()):
    """File t has points 10 t..: through frames t - reach to t + reach."""

    def read(t):
        frames = np.arange(max(0, t - reach), min(FRAMES, t + reach + 1))
        numbers = 10 * t + np.arange(points)
        xy = place(numbers % 7, frames[:, None]).astype(np.float32)
        seen = np.ones(xy.shape[:2], bool)
        for point, frame in hide:
            if point // 10 == t:
                seen[frame - frames[0], point % 10] = False
        own = int(np.searchsorted(frames, t))
        return WindowTracks(xy, seen, frames.astype(np.int32), own, SIZE)

    return Source(read, FRAMES)


@pytest.mark.parametrize(
    ("frame", "read"), [(0, (0, 1, 2)), (5, (4, 5, 6)), (11, (9, 10, 11))]
)
def test_points_are_those_of_three_files(frame, read):
    found = FileWindows(files(), 2, SIZE)
    numbers = np.concatenate([10 * t + np.arange(5) for t in read]) % 7
    around = found.around(frame)
    expected = window(FRAMES, frame, 2)
    np.testing.assert_array_equal(around.frames, expected.frames)
    assert around.query == expected.own and around.size_hw == SIZE
    want = place(numbers, expected.frames[:, None])
    np.testing.assert_allclose(around.tracks_xy, want, atol=1e-5)
    np.testing.assert_allclose(found.places(frame), place(numbers, frame), atol=1e-5)
    assert around.visibility.all() and around.tracks_xy.dtype == np.float32


def test_only_points_that_the_frame_sees_count_and_hidden_ones_keep_their_places():
    found = FileWindows(files(hide=[(51, 5), (62, 6), (43, 5)]), 2, SIZE)
    around = found.around(5)
    numbers = np.array([40, 41, 42, 44, 50, 52, 53, 54, 60, 61, 62, 63, 64])
    np.testing.assert_allclose(found.places(5), place(numbers % 7, 5), atol=1e-5)
    hidden = np.argwhere(~around.visibility)
    np.testing.assert_array_equal(hidden, [[3, 10]])  # Of 62, in frame 6.
    np.testing.assert_allclose(around.tracks_xy[3, 10], place(62 % 7, 6), atol=1e-5)


@pytest.mark.parametrize("frame", [0, 6, 11])
def test_places_are_averaged_over_the_whole_clip_as_published(frame):
    curved = files()
    given = Source(
        lambda t: WindowTracks(**{**vars(curved[t]), "tracks_xy": bent(curved[t])}),
        FRAMES,
    )
    found = FileWindows(given, 2, SIZE, smooth=5)
    parts = [given[t] for t in range(max(0, min(frame - 1, 9)), 12)][:3]
    whole = np.concatenate([part.tracks_xy for part in parts], 1)
    expected = np.asarray(smooth_tracks(whole, 5))[window(FRAMES, frame, 2).frames]
    np.testing.assert_allclose(found.around(frame).tracks_xy, expected, rtol=1e-5)
    np.testing.assert_allclose(found.places(frame), whole[frame], rtol=1e-6)


def bent(part):
    return part.tracks_xy + (part.frames[:, None, None] ** 2).astype(np.float32)


def test_places_are_pixels_of_the_images():
    found = FileWindows(files(), 2, (96, 255))
    scaled = np.float32([255 / 85, 96 / 48])
    plain = FileWindows(files(), 2, SIZE)
    for name in ("around", "places"):
        a, b = (getattr(w, name)(5) for w in (found, plain))
        a, b = (x.tracks_xy if name == "around" else x for x in (a, b))
        np.testing.assert_allclose(a, b * scaled, rtol=1e-5)


def test_where_a_file_does_not_reach_points_stay_and_are_hidden():
    around = FileWindows(files(reach=1), 2, SIZE).around(5)
    np.testing.assert_array_equal(around.frames, range(3, 8))
    numbers = np.concatenate([10 * t + np.arange(5) for t in (4, 5, 6)]) % 7
    reached = [(3, 5), (4, 6), (5, 7)]
    for part, (low, high) in enumerate(reached):
        rows = slice(5 * part, 5 * part + 5)
        frames = np.clip(np.arange(3, 8), low, high)
        want = place(numbers[rows], frames[:, None])
        np.testing.assert_allclose(around.tracks_xy[:, rows], want, atol=1e-5)
        is_seen = np.arange(3, 8) == frames
        np.testing.assert_array_equal(around.visibility[:, rows].T, [is_seen] * 5)


def test_files_that_are_not_there_give_no_points():
    def read(t):
        if t == 5:
            raise FrameError("damaged")
        return None if t == 4 else files()[t]

    found = FileWindows(Source(read, FRAMES), 2, SIZE)
    assert found.around(5).tracks_xy.shape == (5, 5, 2)
    none = FileWindows(Source(lambda t: None, FRAMES), 2, SIZE)
    assert none.around(5).tracks_xy.shape == (5, 0, 2)
    assert none.places(5).shape == (0, 2) and none.around(5).visibility.shape == (5, 0)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="a window of 41 needs"):
        FileWindows(files(), 20, SIZE).around(0)
    with pytest.raises(ValueError, match="odd number"):
        FileWindows(files(), 2, SIZE, smooth=4)
    with pytest.raises(ValueError, match="frame 12 of 12"):
        FileWindows(files(), 2, SIZE).around(12)
