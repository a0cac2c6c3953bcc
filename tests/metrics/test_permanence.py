"""Out of sight: located, and the same when back. Cases by hand, a plain recount."""

import numpy as np
import pytest

from egojax import metrics
from egojax.errors import UsageError

HERE = np.zeros((1, 3))


def play(seen, matched, remembered, truth=None, **options):
    """One object, frame by frame; `remembered` holds (id, x) of tracks or None."""
    recorder = metrics.PermanenceRecorder(**options)
    for t, (is_seen, i) in enumerate(zip(seen, matched, strict=True)):
        tracks = [remembered[t]] if remembered[t] else []
        place = HERE if truth is None else np.array([[truth[t], 0, 0]])
        recorder.add(
            [1],
            [bool(is_seen)],
            place,
            [i],
            [k for k, _ in tracks],
            [(x, 0, 0) for _, x in tracks],
        )
    return recorder.finish()


def test_a_track_that_remembers_the_place_and_comes_back_counts_at_each_radius():
    scores = play(
        [1, 1, 0, 0, 0, 1],
        [7, 7, 0, 0, 0, 7],
        [(7, 0.5), None, None, None, (7, 0.1), None],
    ).compute()
    assert scores["identity_survival"] == 1.0
    assert scores["num_absent_frames"] == 3
    assert scores["PCL_R0.3"] == pytest.approx(1 / 3)
    assert scores["PCL_R0.6"] == scores["PCL_R1"] == 1.0
    assert scores["PCL_after_longest_absence"] == 1.0


def test_an_object_moved_while_out_of_sight_is_not_where_it_was():
    scores = play(
        [1, 0, 0, 1], [7, 0, 0, 7], [(7, 0.0)] * 4, truth=[0, 0, 2, 2]
    ).compute()
    assert scores["PCL_R1"] == 0.5
    assert scores["identity_survival"] == 1.0
    assert scores["PCL_after_longest_absence_R1"] == 0.0


def test_another_id_after_the_gap_is_not_a_survivor_wherever_the_old_track_is():
    scores = play([1, 0, 1, 1], [7, 0, 0, 8], [(7, 0.0)] * 4).compute()
    assert scores["identity_survival"] == 0.0
    assert scores["PCL_R0.3"] == 1.0
    assert scores["PCL_after_longest_absence"] == 0.0


def test_the_first_match_of_the_spell_decides():
    late = play([1, 0, 1, 1, 1], [7, 0, 0, 0, 7], [None] * 5).compute()
    assert late["identity_survival"] == 1.0
    corrected = play([1, 0, 1, 1, 1], [7, 0, 8, 7, 7], [None] * 5).compute()
    assert corrected["identity_survival"] == 0.0
    never = play([1, 0, 1, 0, 1], [7, 0, 0, 0, 7], [None] * 5).compute()
    assert never["identity_survival"] == 0.5


def test_gaps_fall_into_their_bins():
    seen = [1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1]
    matched = [7, 0, 7, 0, 0, 7, 0, 0, 0, 0, 9]
    scores = play(seen, matched, [(7, 0.0)] * 11, gap_edges=(1, 2, 4)).compute()
    assert scores["num_returns_by_gap"] == [1, 1, 1]
    assert scores["identity_survival_by_gap"] == [1.0, 1.0, 0.0]
    # Frames absent for 1, for 2 and 3, for 4 and more.
    assert scores["num_absent_frames_by_gap"] == [3, 3, 1]
    assert scores["PCL_after_longest_absence"] == 0.0


def test_objects_without_a_track_so_far_are_named_and_not_counted():
    scores = play([1, 0, 1], [0, 0, 7], [None] * 3).compute()
    assert np.isnan(scores["identity_survival"])
    assert np.isnan(scores["PCL_R1"])
    assert scores["num_without_track"] == 2


def test_an_object_that_is_not_listed_is_absent_at_an_unknown_place():
    recorder = metrics.PermanenceRecorder()
    for t in range(4):
        ids = [1] if t in (0, 3) else []
        n = len(ids)
        recorder.add(ids, [True] * n, np.zeros((n, 3)), [7] * n, [], [])
    scores = recorder.finish().compute()
    assert scores["num_returns_by_gap"][0] == 1
    assert scores["identity_survival"] == 1.0
    assert scores["num_absent_frames"] == scores["num_longest_absences"] == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_plain_recount_over_whole_columns_agrees(seed):
    """The definition again, per object over the whole clip at once."""
    rng = np.random.default_rng(seed)
    frames, objects, edges, radius = 200, 5, (1, 4, 9), 0.6
    seen = np.repeat(rng.random((frames // 5, objects)) > 0.4, 5, axis=0)
    matched = np.where(rng.random(seen.shape) < 0.8, rng.integers(1, 4, seen.shape), 0)
    truth = np.cumsum(rng.normal(0, 0.05, (frames, objects, 3)), axis=0)
    tracks = np.cumsum(rng.normal(0, 0.05, (frames, 4, 3)), axis=0)
    shown = rng.random((frames, 4)) < 0.3
    recorder = metrics.PermanenceRecorder(gap_edges=edges, radii=(radius,))
    for t in range(frames):
        ids = np.flatnonzero(shown[t])
        recorder.add(
            np.arange(objects), seen[t], truth[t], matched[t], ids, tracks[t, ids]
        )
    returned, survived, absent, located = np.zeros((4, len(edges)), int)
    for k in range(objects):
        hit = seen[:, k] & (matched[:, k] > 0)
        for t in np.flatnonzero(hit)[:1].tolist():
            for u in range(t + 1, frames):
                own = matched[np.flatnonzero(hit[:u])[-1], k]
                n = u - np.flatnonzero(seen[:u, k])[-1]
                if not seen[u, k]:
                    known = np.flatnonzero(shown[: u + 1, own])
                    place = tracks[known[-1], own] if known.size else np.inf
                    near = np.linalg.norm(place - truth[u, k]) <= radius
                    b = np.searchsorted(edges, n, side="right") - 1
                    absent[b] += 1
                    located[b] += near
                elif n > 1:
                    b = np.searchsorted(edges, n - 1, side="right") - 1
                    stop = u + np.argmin(np.append(seen[u:, k], False))
                    first = np.flatnonzero(hit[u:stop])
                    returned[b] += 1
                    survived[b] += bool(first.size and matched[u + first[0], k] == own)
    scores = recorder.finish()
    np.testing.assert_array_equal(scores.returned, returned)
    np.testing.assert_array_equal(scores.survived, survived)
    np.testing.assert_array_equal(scores.absent, absent)
    np.testing.assert_array_equal(scores.located[0], located)


def test_clips_add_up():
    one = play([1, 0, 1], [7, 0, 7], [(7, 0.0)] * 3)
    other = play([1, 0, 1], [7, 0, 8], [(7, 5.0)] * 3)
    both = metrics.PermanenceScores.empty().merge(one).merge(other).compute()
    assert both["identity_survival"] == both["PCL_R0.3"] == 0.5
    assert both["num_longest_absences"] == 2


def test_objects_are_matched_one_to_one_above_the_threshold():
    truth = np.array([[1, 1, 1, 2, 2, 2, 3]])
    pred = np.array([[5, 5, 6, 6, 6, 6, 0]])
    overlap = metrics.frame_overlap(truth, pred)
    assert metrics.match_objects(overlap).tolist() == [5, 6, 0]
    assert metrics.match_objects(overlap, threshold=0.7).tolist() == [0, 6, 0]


def test_misuse_is_told():
    recorder = metrics.PermanenceRecorder(name="room")
    with pytest.raises(UsageError, match=r"room, frame 0: columns .* \[2, 1, 2, 2\]"):
        recorder.add([1, 2], [True], np.zeros((2, 3)), [0, 0], [], [])
    with pytest.raises(UsageError, match="room, frame 1: true id 4 occurs 2 times"):
        recorder.add([4, 4], [True] * 2, np.zeros((2, 3)), [0, 0], [], [])
    with pytest.raises(ValueError, match="increase from 1"):
        metrics.PermanenceRecorder(gap_edges=(2, 3))


def test_a_place_that_is_not_known_does_not_erase_what_is_remembered():
    remembered = [(7, 0.0), (7, np.nan), None, None]
    scores = play([1, 1, 0, 1], [7, 7, 0, 7], remembered).compute()
    assert scores["PCL_R0.3"] == 1.0


def test_of_equally_long_absences_the_first_is_the_longest():
    """It is survived, the second is not."""
    seen, matched = [1, 0, 1, 0, 1], [7, 0, 7, 0, 8]
    scores = play(seen, matched, [(7, 0.0)] * 5).compute()
    assert scores["identity_survival"] == 0.5
    assert scores["PCL_after_longest_absence"] == 1.0


def test_frames_that_are_left_out_count_as_time():
    recorder = metrics.PermanenceRecorder()
    for t in (0, 40):
        recorder.add([1], [True], HERE, [7], [7], [(0, 0, 0)], frame_idx=t)
        recorder.add([1], [False], HERE, [0], [], [], frame_idx=t + 1)
    recorder.add([1], [True], HERE, [7], [], [], frame_idx=50)
    found = recorder.finish().compute()
    edges = found["gap_edges"]
    bins = [k for k, count in enumerate(found["num_returns_by_gap"]) if count]
    assert len(bins) == 2 and edges[bins[0]] <= 9 < 39 <= edges[bins[1] + 1]
    with pytest.raises(UsageError, match="comes after"):
        recorder.add([1], [True], HERE, [7], [], [], frame_idx=50)
