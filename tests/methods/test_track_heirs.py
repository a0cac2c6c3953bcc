"""Heirs of bodies: by hand, and ids that outlast a rest of the body."""

import numpy as np
import pytest

from egojax.methods import clip_groups
from egojax.methods.clip_groups import group_clip, joined
from egojax.methods.track_heirs import inherit
from egojax.types import PointTracks
from tests import resting_tracks

SIZE = (40, 60)


def tracks_of(*rows) -> PointTracks:
    """Tracks that rest, each (first frame, frames, x, y)."""
    first, count, x, y = np.array(rows, float).T
    xy = np.repeat(np.stack([x, y], -1), count.astype(int), axis=0)
    return PointTracks(
        first.astype(np.int32), count.astype(np.int32), xy.astype(np.float32), SIZE
    )


def nothing(count: int) -> np.ndarray:
    return np.zeros(count, np.int64)


def test_a_new_point_is_heir_of_what_the_nearest_older_one_is_of():
    """Points 4 pixels apart: two of body 7, two at rest, new ones beside and far."""
    old = [(0, 9, 10, 10), (0, 9, 14, 10), (0, 9, 18, 10), (0, 9, 22, 10)]
    new = [(3, 5, 12, 11), (3, 5, 20, 11), (3, 5, 50, 30)]
    body = np.array([7, 7, 0, -1, -1, -1, -1])
    found = inherit(tracks_of(*old, *new), body, nothing(7), 0, 9)
    np.testing.assert_array_equal(found, [0, 0, 0, 0, 7, 0, 0])


def test_heirs_have_heirs_and_what_was_just_lost_still_counts():
    rows = [(0, 3, 10, 10), (0, 3, 14, 10), (2, 4, 11, 11), (6, 2, 11, 12)]
    rows += [(8, 2, 11, 13), (0, 9, 14, 14)]
    body = np.array([5, 5, -1, -1, -1, 0])
    found = inherit(tracks_of(*rows), body, nothing(6), 0, 10)
    np.testing.assert_array_equal(found, [0, 0, 5, 5, 5, 0])


def test_frames_without_points_are_bridged():
    rows = [(0, 2, 10, 10), (0, 2, 14, 10), (5, 2, 11, 10), (5, 2, 14, 11)]
    found = inherit(tracks_of(*rows), np.array([2, 3, -1, -1]), nothing(4), 0, 7)
    np.testing.assert_array_equal(found, [0, 0, 2, 3])


def test_calls_that_go_on_give_what_one_call_gives():
    tracks, truth = resting_tracks.resting_clip(0)
    body = np.where(tracks.first < 20, truth * 4, -1)
    whole = inherit(tracks, body, nothing(len(tracks)), 0, 50)
    half = inherit(tracks, body, nothing(len(tracks)), 0, 23)
    np.testing.assert_array_equal(inherit(tracks, body, half, 23, 50), whole)
    assert set(np.unique(whole)) == {0, 4} and not whole[tracks.first >= 50].any()
    # On the disk nearly all are heirs, elsewhere few.
    late = (tracks.first >= 20) & (tracks.first < 50)
    assert (whole[late & (truth == 1)] == 4).mean() > 0.8
    assert (whole[late & (truth == 0)] == 4).mean() < 0.2


def test_without_bodies_or_points_there_are_no_heirs():
    tracks = tracks_of((0, 4, 10, 10), (2, 4, 12, 10))
    assert not inherit(tracks, np.array([0, -1]), nothing(2), 0, 6).any()
    count = np.zeros(0, np.int32)
    none = PointTracks(count, count, np.zeros((0, 2), np.float32), SIZE)
    assert inherit(none, nothing(0), nothing(0), 0, 5).shape == (0,)
    alone = tracks_of((0, 2, 10, 10), (1, 2, 11, 10))
    assert not inherit(alone, np.array([1, -1]), nothing(2), 0, 3).any()


def test_a_body_without_shared_tracks_is_named_by_its_heirs():
    found = np.array([3, 3, 0, 0, 0, -1, -1])
    group = np.array([-1, -1, 1, 1, 1, 2, 0])
    heir = np.array([0, 0, 3, 3, 0, 3, 3])
    np.testing.assert_array_equal(joined(found, group), [3, 3, 4, 4, 4, 5, 0])
    # Of two that are heirs the larger is it; what rests stays at rest.
    named = joined(found, group, heir)
    np.testing.assert_array_equal(named, [3, 3, 3, 3, 3, 4, 0])


def test_shared_tracks_go_before_heirs_and_few_heirs_are_no_proof():
    found = np.array([3, 0, 0, 0, -1, -1])
    group = np.array([1, 1, 2, 2, 2, 2])
    heir = np.array([0, 0, 3, 3, 3, 3])
    np.testing.assert_array_equal(joined(found, group, heir), [3, 3, 4, 4, 4, 4])
    few = np.array([0, 0, 0, 2, 0, 0])
    named = joined(np.array([2, 0, 0, 0, 0, 0]), np.array([-1, 0, 1, 1, 1, 1]), few)
    np.testing.assert_array_equal(named, [2, 0, 3, 3, 3, 3])


@pytest.fixture(scope="module")
def resting():
    return resting_tracks.resting_clip(0)


def ids_of(tracks, truth, found, start, stop) -> set[int]:
    inside = (tracks.first >= start) & (tracks.first + tracks.count <= stop)
    numbers = found[inside & (truth == 1) & (found > 0)]
    assert len(numbers) > 30
    return {*numbers.tolist()}


def group(tracks) -> np.ndarray:
    count = resting_tracks.FRAMES
    return group_clip(tracks, count, lengths=(9,), piece=22, overlap=11)


def test_a_body_that_has_rested_over_whole_pieces_keeps_its_number(
    resting, monkeypatch
):
    """No track lasts from before the rest of 34 frames to after it."""
    tracks, truth = resting
    begin, end = resting_tracks.REST
    assert (tracks.count < end - begin).all()
    found = group(tracks)
    before = ids_of(tracks, truth, found, 0, begin)
    assert before == ids_of(tracks, truth, found, end, resting_tracks.FRAMES) == {1}
    assert (found[truth == 0] < 1).all()
    # Without heirs it has another number afterwards.
    monkeypatch.setattr(clip_groups, "inherit", lambda t, body, heir, *_: 0 * heir)
    alone = group(tracks)
    before = ids_of(tracks, truth, alone, 0, begin)
    assert not before & ids_of(tracks, truth, alone, end, resting_tracks.FRAMES)


def test_bodies_that_follow_one_another_are_one_and_those_side_by_side_are_not():
    """Tracks of body 1 end when those of 2 begin; 3 is seen beside both."""
    rows = [(0, 10, 5, 5), (0, 11, 9, 5), (10, 10, 5, 9), (10, 10, 9, 9)]
    tracks = tracks_of(*rows, (0, 20, 30, 5), (0, 20, 34, 5))
    group = np.array([1, 1, 2, 2, 3, 3])
    beside = clip_groups.together(tracks, group, 0, 20)
    expected = np.eye(3, dtype=bool) | [[0, 0, 1], [0, 0, 1], [1, 1, 1]]
    np.testing.assert_array_equal(beside[1:, 1:], expected)
    found, heir = np.array([4, 4, -1, -1, -1, -1]), np.array([0, 0, 4, 4, 4, 4])
    named = joined(found, group, heir, beside)
    np.testing.assert_array_equal(named, [4, 4, 4, 4, 5, 5])
    # Of what is not known to follow nothing is taken for one.
    named = joined(found, group, heir)
    np.testing.assert_array_equal(named, [4, 4, 5, 5, 6, 6])


def test_only_the_frames_of_a_piece_say_what_is_seen_together():
    tracks = tracks_of((0, 30, 5, 5), (0, 10, 9, 5), (28, 2, 9, 9))
    group = np.array([1, 2, 3])
    assert clip_groups.together(tracks, group, 0, 10)[1, 2]
    later = clip_groups.together(tracks, group, 10, 30)
    assert not later[1, 2] and later[1, 3] and later[3, 1]
    nothing_there = clip_groups.together(tracks, np.array([-1, 0, 0]), 0, 30)
    assert nothing_there.shape == (1, 1)
