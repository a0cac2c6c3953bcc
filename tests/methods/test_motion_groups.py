"""Groups of tracks: clips made of points whose motions are known."""

import collections

import numpy as np
import pytest

from egojax.methods import clip_groups, motion_groups, motion_windows
from egojax.methods.clip_groups import group_clip, joined, pieces, renumbered
from egojax.methods.motion_groups import (
    STATIC,
    UNKNOWN,
    GroupSettings,
    group_tracks,
    join_alike,
    track_graph,
)
from egojax.methods.motion_windows import WindowMotion, windows
from egojax.methods.still_points import Stillness
from egojax.types import PointTracks
from tests.moving_points import SIZE, moving_points


def _same_partition(found, truth):
    pairs = {*zip(found.tolist(), truth.tolist(), strict=True)}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def _group(tracks, frames=30, length=15):
    some = list(windows(tracks, 0, frames, length, 5))
    return group_tracks(some, len(tracks))


@pytest.mark.parametrize("seed", range(4))
def test_bodies_are_told_from_the_scene_and_from_each_other(seed):
    tracks, truth = moving_points(seed)
    found = _group(tracks)
    known = found != UNKNOWN
    assert known.mean() > 0.95
    assert _same_partition(found[known], truth[known])
    assert (found[known & (truth == 0)] == STATIC).all()


def test_a_body_that_rests_is_part_of_the_scene():
    tracks, truth = moving_points(1, still=(2,))
    found = _group(tracks)
    assert (found[truth == 2] == STATIC).mean() > 0.95
    assert (found[truth == 1] != STATIC).all() and (found[truth == 1] > STATIC).any()


def test_pairs_of_one_motion_are_alike_and_those_of_two_are_not():
    tracks, truth = moving_points(1)
    some = list(windows(tracks, 0, 30, 15, 5))
    graph = track_graph(some, len(tracks))
    assert (graph.pairs[:, 0] < graph.pairs[:, 1]).all()
    assert len(np.unique(graph.pairs, axis=0)) == len(graph.pairs)
    first, second = truth[graph.pairs].T
    assert np.median(graph.alike[first == second]) > 0.4
    assert np.median(graph.alike[first != second]) < 0.1
    np.testing.assert_allclose(graph.alike, 1 / (1 + graph.gap))


def test_what_cuts_tracks_into_parts_can_be_another():
    tracks, truth = moving_points(1)
    some = list(windows(tracks, 0, 30, 15, 5))
    asked = []

    def part_of(given, graph, count, seed):
        asked.append((len(given), graph.pairs.max() < count, count, seed))
        return truth

    found = group_tracks(some, len(tracks), seed=7, part_of=part_of)
    assert asked == [(len(some), True, len(tracks), 7)]
    assert _same_partition(found, truth) and (found[truth == 0] == STATIC).all()


def test_a_part_that_its_images_tell_to_stand_still_is_part_of_the_scene():
    """A shadow: most of what is known of it decides, not what is not known."""
    tracks, truth = moving_points(1)
    some = list(windows(tracks, 0, 30, 15, 5))
    known = truth > 0
    known[np.flatnonzero(truth == 2)[::3]] = False
    likely = truth == 2
    likely[np.flatnonzero(truth == 2)[1::12]] = False
    seen = Stillness(known, np.zeros_like(known), likely)
    found = group_tracks(some, len(tracks), None, 0, seen)
    assert (found[truth == 2] == STATIC).mean() > 0.95
    assert np.median(found[truth == 1]) > STATIC
    unsure = Stillness(known, likely, np.zeros_like(known))
    found = group_tracks(some, len(tracks), None, 0, unsure)
    assert (found[truth == 2] > STATIC).mean() > 0.95


def test_what_images_say_of_windows_is_asked_length_by_length():
    tracks, truth = moving_points(1)
    asked = []

    def still_of(some):
        asked.append({len(window.residual) for window in some})
        rests = truth == 2
        return Stillness(np.ones_like(rests), rests, rests)

    found = group_clip(tracks, 30, lengths=(15, 5), still_of=still_of)
    assert asked == [{15}, {5}]
    assert (found[truth == 2] == STATIC).mean() > 0.95
    assert np.median(found[truth == 1]) > STATIC


def test_bodies_are_numbered_from_the_largest_on():
    tracks, _ = moving_points(3, bodies=3)
    found = _group(tracks)
    size = np.bincount(found[found > 0])[1:]
    assert len(size) == 3 and (np.diff(size) <= 0).all()


def test_without_motion_all_is_static():
    tracks, _ = moving_points(0, still=(1, 2))
    found = _group(tracks)
    assert (found == STATIC).mean() > 0.95 and not (found > STATIC).any()


def test_no_windows_and_no_tracks_are_unknown():
    np.testing.assert_array_equal(group_tracks([], 3), [UNKNOWN] * 3)
    assert len(group_clip(PointTracks(*_nothing(), SIZE), 20)) == 0


def _nothing():
    none = np.zeros(0, np.int32)
    return none, none, np.zeros((0, 2), np.float32)


def test_one_track_is_unknown():
    one = np.zeros(1, np.int32)
    tracks = PointTracks(one, one + 20, np.full((20, 2), 9, np.float32), SIZE)
    np.testing.assert_array_equal(group_clip(tracks, 20), [UNKNOWN])


def test_numbers_of_tracks_do_not_matter():
    """Points in another order are in the same groups, but for a few in a hundred.

    Distant edges are drawn by the order.
    """
    tracks, _ = moving_points(2, points=600)
    order = np.random.default_rng(0).permutation(len(tracks))
    rows = tracks.offset[order, None] + np.arange(30)
    mixed = PointTracks(
        tracks.first[order], tracks.count[order], tracks.xy[rows.ravel()], SIZE
    )
    pairs = zip(_group(mixed).tolist(), _group(tracks)[order].tolist(), strict=True)
    common = collections.Counter(pairs).most_common(3)
    assert sum(count for _, count in common) >= 580
    assert len({a for (a, _), _ in common}) == len({b for (_, b), _ in common}) == 3


# ------------------------------------------------------------------------- windows


def test_windows_hold_the_tracks_that_last_through_them_and_end_with_the_clip():
    tracks, _ = moving_points(0)
    found = list(windows(tracks, 0, 30, 12, 5))
    assert [w.start for w in found] == [0, 5, 10, 15, 18]
    for window in found:
        assert window.residual.shape == (12, 300, 2)
        assert window.noise == pytest.approx(np.median(window.error), rel=1e-5)


def test_a_window_longer_than_the_clip_is_none():
    tracks, _ = moving_points(0)
    assert not list(windows(tracks, 0, 30, 31, 5))


def test_a_window_of_few_points_is_left_out():
    tracks, _ = moving_points(0, points=motion_windows.LEAST_POINTS - 1, bodies=0)
    assert not list(windows(tracks, 0, 30, 10, 5))


def test_a_body_that_was_found_in_two_pieces_is_one_again():
    tracks, truth = moving_points(0)
    some = list(windows(tracks, 0, 30, 5, 2))
    cut = truth.copy()
    cut[np.flatnonzero(truth == 1)[::2]] = 7
    found = join_alike(some, cut)
    np.testing.assert_array_equal(found, truth)


def test_bodies_in_no_common_window_stay_apart_and_no_bodies_are_none():
    tracks, truth = moving_points(0)
    np.testing.assert_array_equal(join_alike([], truth), truth)
    some = list(windows(tracks, 0, 30, 5, 2))
    nothing = np.where(truth > 0, UNKNOWN, STATIC)
    np.testing.assert_array_equal(join_alike(some, nothing), nothing)


# --------------------------------------------------------------- clips of any length


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, []),
        (5, [(0, 5)]),
        (10, [(0, 10)]),
        (11, [(0, 10), (1, 11)]),
        (25, [(0, 10), (6, 16), (12, 22), (15, 25)]),
    ],
)
def test_pieces_overlap_and_reach_the_end(count, expected):
    assert list(pieces(count, 10, 4)) == expected


def test_a_long_clip_keeps_the_numbers_of_its_bodies():
    """90 frames in pieces of 30: every track is cut, and none changes its group."""
    tracks, truth = moving_points(0, frames=90, noise=0.1)
    seen = []
    found = group_clip(
        tracks,
        90,
        lengths=(15,),
        piece=30,
        overlap=15,
        progress=lambda done, total: seen.append((done, total)),
    )
    known = found != UNKNOWN
    assert known.mean() > 0.9 and _same_partition(found[known], truth[known])
    assert seen[-1] == (90, 90)


def test_bodies_are_joined_by_shared_tracks():
    found = np.array([1, 1, 2, 2, 0, -1, -1])
    piece = np.array([2, 2, 1, -1, 0, 2, 3])
    np.testing.assert_array_equal(joined(found, piece), [1, 1, 2, 2, 0, 1, 3])


def test_of_two_bodies_that_claim_one_the_larger_share_wins():
    found = np.array([1, 1, 1, 1, 1])
    piece = np.array([1, 1, 1, 2, 2])
    np.testing.assert_array_equal(joined(found, piece), [1] * 5)
    more = joined(np.r_[found, -1, -1], np.r_[piece, 1, 2])
    np.testing.assert_array_equal(more, [1, 1, 1, 1, 1, 1, 2])


def test_what_moves_later_becomes_a_body_and_stays_one():
    found = joined(np.array([0, 0, 0]), np.array([1, 0, -1]))
    np.testing.assert_array_equal(found, [1, 0, 0])
    np.testing.assert_array_equal(joined(found, np.array([0, 0, 0])), [1, 0, 0])


def test_numbers_of_bodies_leave_none_out():
    """Joining leaves gaps; 9 has most tracks, then 3, then 4."""
    found = renumbered(np.array([-1, 0, 3, 9, 9, 9, 4, 3, 0]))
    np.testing.assert_array_equal(found, [-1, 0, 2, 1, 1, 1, 3, 2, 0])
    np.testing.assert_array_equal(renumbered(np.array([-1, 0])), [-1, 0])
    assert len(renumbered(np.zeros(0, int))) == 0


def test_pieces_that_do_not_get_on_are_refused():
    tracks, _ = moving_points(0)
    with pytest.raises(ValueError, match="pieces of 10 frames that overlap by 10"):
        clip_groups.group_clip(tracks, 30, piece=10, overlap=10)


def test_a_seed_gives_the_same_groups_again():
    tracks, _ = moving_points(4)
    some = list(windows(tracks, 0, 30, 15, 5))
    found = [motion_groups.group_tracks(some, 300, GroupSettings(), 3) for _ in "ab"]
    np.testing.assert_array_equal(*found)


# ------------------------------------------------------------------------- joining


def _two_parts(moves, noise=0.1):
    """Windows in which parts 1, 2 of ten tracks move so, pixels, [(first, second)]."""
    middle = np.concatenate([np.zeros((10, 2)), np.full((10, 2), 150.0)])
    grow = np.linspace(-1, 1, 9)[:, None, None]
    out = []
    for n, (first, second) in enumerate(moves):
        motion = np.repeat(np.array([first, second], float), 10, axis=0)
        residual = np.float32(grow * motion)
        out.append(WindowMotion(n, np.arange(20), middle, residual, noise))
    return out, np.repeat([1, 2], 10)


@pytest.mark.parametrize(
    "moves, joins",
    [
        ([((9, 0), (9, 0))], True),
        ([((9, 0), (6, 0))], True),  # A third of the motion: a body that turns.
        ([((9, 0), (0, 9))], False),
        ([((9, 0), (-9, 0))], False),
        ([((9, 0), (2, 0))], False),
        ([((9, 0), (9, 0)), ((9, 0), (3, 0))], True),  # Once unlike, on average alike.
        ([((9, 0), (9, 0)), ((9, 0), (-9, 0))], False),
        # Where both rest they are not told apart, and not taken together.
        ([((9, 0), (0, 9))] + [((0.1, 0), (0.1, 0))] * 9, False),
        ([((0.1, 0), (0.1, 0))] * 9, False),
    ],
)
def test_parts_are_one_body_where_they_move_alike_however_far_apart(moves, joins):
    some, parts = _two_parts(moves)
    found = join_alike(some, parts)
    np.testing.assert_array_equal(found, np.ones(20) if joins else parts)


def test_how_much_parts_of_a_body_may_differ_is_a_setting():
    some, parts = _two_parts([((9, 0), (6, 0))])
    strict = GroupSettings(alike=0.1)
    np.testing.assert_array_equal(join_alike(some, parts, strict), parts)


def test_a_window_of_one_track_has_no_pairs():
    still = np.zeros((5, 1, 2), np.float32)
    window = WindowMotion(0, np.zeros(1, int), np.full((1, 2), 9.0), still, 0.1)
    assert motion_groups.track_graph([window], 1).pairs.shape == (0, 2)
