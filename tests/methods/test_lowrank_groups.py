"""Groups of tracks by the low-rank loss: clips whose motions are known."""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest

from egojax.methods.clip_groups import group_clip
from egojax.methods.lowrank_groups import (
    LowRankSettings,
    find_parts,
    in_pieces,
    low_rank_parts,
    spectral_parts,
)
from egojax.methods.motion_groups import (
    STATIC,
    UNKNOWN,
    Graph,
    group_tracks,
    track_graph,
)
from egojax.methods.motion_windows import WindowMotion, windows
from egojax.types import PointTracks
from tests.moving_points import SIZE, moving_points

QUICK = LowRankSettings(masks=4, restarts=1, steps=60, batch=4)
PART_OF = functools.partial(low_rank_parts, settings=QUICK)
NONE = Graph(np.zeros((0, 2), np.int64), np.zeros(0))


@functools.cache
def _given(seed, bodies=3):
    tracks, truth = moving_points(seed, bodies=bodies)
    some = list(windows(tracks, 0, 30, 15, 5))
    graph = track_graph(some, len(tracks))
    return some, graph, truth


def _agreement(part, truth):
    """The share of tracks that are in the part of most of their group."""
    return np.mean([np.bincount(part[truth == k]).max() for k in np.unique(truth)]) / (
        np.mean([(truth == k).sum() for k in np.unique(truth)])
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_bodies_are_told_from_the_scene_and_from_each_other(seed):
    tracks, truth = moving_points(seed)
    some = list(windows(tracks, 0, 30, 15, 5))
    found = group_tracks(some, len(tracks), part_of=PART_OF)
    assert len(np.unique(found)) == 3
    assert _agreement(found, truth) > 0.98
    assert (found[truth == 0] == STATIC).mean() > 0.98


def test_a_clip_is_grouped_in_pieces():
    tracks, truth = moving_points(1)
    found = group_clip(tracks, 30, lengths=(15,), part_of=PART_OF)
    assert len(np.unique(found)) == 3 and _agreement(found, truth) > 0.98


@pytest.mark.parametrize("seed", [1, 2])
def test_a_spectral_start_ends_where_one_by_chance_does_not(seed):
    """From these starts two bodies end in one mask, for good."""
    some, graph, truth = _given(seed)
    by_chance = dataclasses.replace(QUICK, start="random")
    stuck = find_parts(some, graph, len(truth), 0, by_chance)
    found = find_parts(some, graph, len(truth), 0, QUICK)
    assert found.loss < 0.85 * stuck.loss
    part = low_rank_parts(some, graph, len(truth), 0, QUICK)
    assert part.max() == 3 and _agreement(part, truth) > 0.99


def test_other_numbers_of_tracks_compile_nothing():
    """Else memory grows with a clip: each of its pieces has another number."""
    some, graph, truth = _given(1)
    find_parts(some, graph, len(truth), 0, QUICK)
    last = len(truth) - 1
    held = [window.tracks < last for window in some]
    fewer = [
        window._replace(
            tracks=window.tracks[here],
            middle=window.middle[here],
            residual=window.residual[:, here],
        )
        for window, here in zip(some, held, strict=True)
    ]
    bonds = (graph.pairs < last).all(1)
    compiled = []

    def listen(name, _, **more):
        if name.endswith("jaxpr_to_mlir_module_duration"):
            compiled.append(more)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        find_parts(fewer, Graph(graph.pairs[bonds], graph.gap[bonds]), last, 0, QUICK)
        assert not compiled
        jax.jit(lambda x: x + 1.0)(np.zeros(last))
        assert len(compiled) == 1  # So it would have been told.
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_part_in_pieces_is_several_if_they_are_large_enough():
    line = np.stack([np.arange(19), np.arange(1, 20)], -1)
    gap = np.zeros(19)
    gap[7] = 9.0  # Between 7 and 8.
    graph = Graph(line, gap)
    part = np.repeat([0, 1], [17, 3])
    found = in_pieces(part, graph, 4.0)
    assert len(np.unique(found)) == 3
    for piece in (range(8), range(8, 17), range(17, 20)):
        assert len(np.unique(found[[*piece]])) == 1
    # Of six tracks of a part that stands alone, but for two: those stay with the rest.
    few = in_pieces(np.zeros(20, int), Graph(np.delete(line, 17, 0), np.zeros(18)), 4.0)
    assert (few[:18] == few[0]).all() and (few[18:] == few[18]).all()
    np.testing.assert_array_equal(in_pieces(np.arange(4), NONE, 4.0), np.arange(4))


def test_more_descents_never_end_higher():
    some, graph, truth = _given(1)
    ends = [
        find_parts(
            some,
            graph,
            len(truth),
            0,
            dataclasses.replace(QUICK, start="random", restarts=count),
        )
        for count in (1, 2, 4)
    ]
    assert [len(end.tried) for end in ends] == [1, 2, 4]
    for few, more in itertools.pairwise(ends):
        assert more.tried[: len(few.tried)] == few.tried
        assert more.loss == min(more.tried) <= few.loss
    assert ends[-1].loss < ends[0].loss


def test_what_is_cut_too_much_is_merged():
    """Masks for more bodies than there are; merging never raises the loss."""
    some, graph, truth = _given(2)
    many = dataclasses.replace(QUICK, masks=8)
    loose = dataclasses.replace(many.loss, smooth=0.0, price=0.0)
    cut = dataclasses.replace(many, merge=False, loss=loose)
    joined = dataclasses.replace(cut, merge=True)
    parts = [find_parts(some, graph, len(truth), 0, s) for s in (cut, joined, many)]
    assert parts[1].loss <= parts[0].loss
    assert parts[0].part.max() >= parts[1].part.max() >= parts[2].part.max() == 3
    assert parts[0].part.max() > 3


def test_tracks_in_another_order_are_in_the_same_parts():
    some, graph, truth = _given(0)
    place = np.random.default_rng(0).permutation(len(truth))
    mixed = [w._replace(tracks=place[w.tracks]) for w in some]
    other = Graph(np.sort(place[graph.pairs], axis=1), graph.gap)
    part = low_rank_parts(some, graph, len(truth), 0, QUICK)
    moved = low_rank_parts(mixed, other, len(truth), 0, QUICK)[place]
    pairs = {*zip(part.tolist(), moved.tolist(), strict=True)}
    assert len(pairs) == part.max() + 1 == 4


def test_a_seed_gives_the_same_parts_again():
    some, graph, truth = _given(1)
    found = [find_parts(some, graph, len(truth), 3, QUICK) for _ in "ab"]
    np.testing.assert_array_equal(found[0].part, found[1].part)
    assert found[0].loss == found[1].loss


def test_without_motion_all_is_one_part():
    tracks, _ = moving_points(0, still=(1, 2))
    some = list(windows(tracks, 0, 30, 15, 5))
    found = group_tracks(some, len(tracks), part_of=PART_OF)
    assert (found == STATIC).all()


def test_one_mask_is_one_part():
    some, graph, truth = _given(1)
    one = dataclasses.replace(QUICK, masks=1)
    found = find_parts(some, graph, len(truth), 0, one)
    assert not found.part.any() and found.loss == pytest.approx(1.0, abs=1e-4)


def test_one_track_is_a_part_and_no_tracks_are_unknown():
    window = WindowMotion(
        0, np.zeros(1, int), np.ones((1, 2)), np.ones((5, 1, 2), np.float32), 1.0
    )
    np.testing.assert_array_equal(low_rank_parts([window], NONE, 1, 0, QUICK), [0])
    found = group_tracks([], 3, part_of=PART_OF)
    np.testing.assert_array_equal(found, [UNKNOWN] * 3)
    none = np.zeros(0, np.int32)
    empty = PointTracks(none, none, np.zeros((0, 2), np.float32), SIZE)
    assert len(group_clip(empty, 20, part_of=PART_OF)) == 0


def test_without_windows_there_are_no_parts():
    with pytest.raises(ValueError, match="no windows"):
        low_rank_parts([], NONE, 3, 0, QUICK)


# ------------------------------------------------------------------------- spectral


@pytest.mark.parametrize("size", [12, 60])
def test_clusters_that_nothing_joins_are_found(size):
    """Three rounds of tracks; a track that is alone is no cluster of its own."""
    steps = [1, 2, 3, 5, size // 4, size // 3]
    round_ = [
        np.stack([np.arange(size), (np.arange(size) + k) % size], -1) for k in steps
    ]
    pairs = np.concatenate([np.concatenate(round_) + k * size for k in range(3)])
    graph = Graph(np.sort(pairs, axis=1), np.zeros(len(pairs)))
    found = spectral_parts(graph, 3 * size + 1, 3, 0)
    rows = found[: 3 * size].reshape(3, size)
    assert (rows == rows[:, :1]).all() and len(np.unique(rows[:, 0])) == 3


def test_of_fewer_tracks_than_clusters_none_is_left_out():
    found = spectral_parts(NONE, 2, 5, 0)
    assert found.shape == (2,) and (found < 5).all()
