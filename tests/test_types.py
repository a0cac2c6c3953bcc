"""Records: what their methods say of ragged tracks."""

import numpy as np

from egojax.types import PointTracks


def _tracks() -> PointTracks:
    """Three tracks: frames 0 to 2, 1 to 1, 1 to 3; x says the track, y the frame."""
    first, count = np.array([0, 1, 1], np.int32), np.array([3, 1, 3], np.int32)
    rows = [
        (n, f + k)
        for n, (f, c) in enumerate(zip(first, count, strict=True))
        for k in range(c)
    ]
    return PointTracks(first, count, np.array(rows, np.float32), (4, 5))


def test_a_frame_sees_the_tracks_that_last_over_it():
    seen, places = _tracks().at(1)
    np.testing.assert_array_equal(seen, [0, 1, 2])
    np.testing.assert_array_equal(places, [[0, 1], [1, 1], [2, 1]])
    seen, places = _tracks().at(9)
    assert len(seen) == 0 and places.shape == (0, 2)


def test_tracks_through_frames_come_with_their_places_there():
    whole, places = _tracks().through(1, 3)
    np.testing.assert_array_equal(whole, [0, 2])
    np.testing.assert_array_equal(places, [[[0, 1], [2, 1]], [[0, 2], [2, 2]]])


def test_no_tracks_are_seen_nowhere():
    empty = np.zeros(0, np.int32)
    tracks = PointTracks(empty, empty, np.zeros((0, 2), np.float32), (4, 5))
    assert len(tracks) == 0
    assert tracks.through(0, 2)[1].shape == (2, 0, 2)
