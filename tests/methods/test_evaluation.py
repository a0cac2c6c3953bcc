"""Renaming segments and scoring equals painting the maps anew and scoring those."""

import dataclasses

import numpy as np
import pytest

from egojax.methods import evaluation, place_errors
from egojax.metrics import TrackingScores, frame_overlap
from egojax.types import Camera, Clip, Objects, Source, TrackTable

SIZE_HW, NUM_FRAMES = (24, 36), 12


def random_maps(seed: int, top: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, top, (NUM_FRAMES, 4, 6))
    return np.kron(coarse, np.ones((1, 6, 6), int)).astype(np.int32)


@pytest.fixture
def clip() -> Clip:
    frame_ids = tuple(f"{t:04d}" for t in range(NUM_FRAMES))
    truth = Clip("c", frame_ids, SIZE_HW, labels=Source.of(random_maps(0, 4)))
    return Clip(
        "c", frame_ids, SIZE_HW, labels=Source.of(random_maps(1, 6)), truth=truth
    )


def table_of(clip: Clip, track_of: dict[int, int]) -> TrackTable:
    rows = [
        (t, int(s)) for t in range(NUM_FRAMES) for s in np.unique(clip.labels[t]) if s
    ]
    frame, segment = np.array(rows).T
    zero = np.zeros(len(rows), np.float32)
    return TrackTable(
        frame_idx=frame.astype(np.int32),
        segment_id=segment,
        track_id=np.array([track_of[s] for s in segment.tolist()], np.int32),
        category=zero.astype(np.int32),
        score=zero,
        confidence=zero,
        location=np.zeros((len(rows), 3), np.float32),
        centroid_xy=np.zeros((len(rows), 2), np.float32),
        area=zero.astype(np.int32),
    )


def test_scores_of_names_equal_scores_of_painted_maps(clip):
    track_of = {1: 1, 2: 2, 3: 1, 4: 3, 5: 3}
    table = table_of(clip, track_of)
    names = evaluation.names_by_frame(table, table.track_id, NUM_FRAMES)
    frames = evaluation.true_frames(clip)
    found = evaluation.score_names(frames, {"tracks": names}, table, min_pixels=0)[
        "tracks"
    ]
    found = found.tracking.compute()
    painted = np.array([0, *track_of.values()])[random_maps(1, 6)]
    expected = TrackingScores.of(
        frame_overlap(clip.truth.labels[t], painted[t]) for t in range(NUM_FRAMES)
    ).compute()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-12, err_msg=key)


def test_true_ids_cannot_be_beaten_by_random_names(clip):
    table = table_of(clip, {k: k for k in range(1, 6)})
    overlaps = list(evaluation.true_frames(clip))
    bound = evaluation.true_ids(overlaps, table)
    rng = np.random.default_rng(0)
    namings = {
        "bound": evaluation.names_by_frame(table, bound, NUM_FRAMES),
        "random": evaluation.names_by_frame(
            table, rng.integers(1, 5, len(table)), NUM_FRAMES
        ),
    }
    scores = evaluation.score_names(overlaps, namings, table, min_pixels=0)
    assert (
        scores["bound"].tracking.compute()["AssA"]
        >= scores["random"].tracking.compute()["AssA"] - 1e-12
    )


def test_small_true_objects_and_frames_without_truth_do_not_count(clip):
    maps = random_maps(0, 4)
    maps[3, 0, 0] = 9
    hidden = [None if t == 5 else maps[t] for t in range(NUM_FRAMES)]
    clip = clip.replace(truth=clip.truth.replace(labels=Source.of(hidden)))
    frames = list(evaluation.true_frames(clip))
    assert 5 not in [f.frame_idx for f in frames] and len(frames) == NUM_FRAMES - 1
    table = table_of(clip, {k: k for k in range(1, 6)})
    namings = {"a": evaluation.names_by_frame(table, table.track_id, NUM_FRAMES)}
    counts = [
        evaluation.score_names(frames, namings, table, min_pixels=n)["a"]
        for n in (0, 1)
    ]
    assert counts[0].tracking.count.GT_IDs == counts[1].tracking.count.GT_IDs + 1


def test_a_tracks_category_is_its_most_frequent_or_its_last():
    ids, found = np.array([1, 2, 1, 1, 3]), np.array([4, 0, 5, 4, -1])
    np.testing.assert_array_equal(
        evaluation.track_categories(ids, found), [4, 0, 4, 4, -1]
    )
    found = np.array([4, 0, 4, 5, -1])
    np.testing.assert_array_equal(
        evaluation.track_categories(ids, found, "last"), [5, 0, 5, 5, -1]
    )


def test_lifting_errors_are_distances_to_centres_and_boxes(clip):
    table = dataclasses.replace(
        table_of(clip, {k: k for k in range(1, 6)}),
    )
    location = np.full((len(table), 3), np.nan, np.float32)
    location[0] = (0.0, 0.0, 3.0)
    table = dataclasses.replace(table, location=location)
    state = Objects(
        ids=np.array([1]),
        category=np.array([0]),
        centers=np.array([[0.0, 0.0, 1.0]]),
        o2w=np.eye(4)[None],
        extent=np.array([[[-1.0, -1, -1], [1, 1, 1.5]]]),
    )
    frames = [frame._replace(objects=state) for frame in evaluation.true_frames(clip)]
    found = place_errors.lifting_errors(frames, table, np.ones(len(table), int))
    assert found["lift_count"] == 1
    assert found["lift_center_median"] == pytest.approx(2.0)
    assert found["lift_box_median"] == pytest.approx(1.5)


def test_reprojection_is_the_distance_of_true_centres_in_the_image(clip):
    """A camera of focal length 100 at the origin; the centre falls on (50, 70)."""
    table = table_of(clip, {k: k for k in range(1, 6)})
    count = len(table)
    location = np.zeros((count, 3), np.float32)
    location[2] = np.nan  # No camera.
    centroid = np.full((count, 2), (53.0, 74.0), np.float32)
    table = dataclasses.replace(table, location=location, centroid_xy=centroid)
    state = Objects(
        ids=np.array([1]), category=np.array([0]), centers=np.array([[0.0, 0.4, 2.0]])
    )
    frames = [frame._replace(objects=state) for frame in evaluation.true_frames(clip)]
    matrix = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    cameras = Camera(
        intrinsics=np.tile(matrix, (count, 1, 1)),
        w2c=np.tile(np.eye(4), (count, 1, 1)),
        size_hw=(100, 100),
    )
    ones = np.ones(count, int)
    found = place_errors.reprojection_errors(frames, table, ones, cameras)
    assert found["reprojection_median"] == pytest.approx(5.0, abs=1e-3)
    behind = dataclasses.replace(state, centers=-state.centers)
    frames = [frame._replace(objects=behind) for frame in frames]
    assert place_errors.reprojection_errors(frames, table, ones, cameras) == {}
    assert place_errors.reprojection_errors(frames, table, -ones, cameras) == {}


def test_depth_is_scored_with_the_alignment_of_its_own_frame():
    truth = [np.full((4, 5), 2.0, np.float32), np.full((4, 5), 3.0, np.float32)]
    found = [np.full((4, 5), 1.0, np.float32)] * 2
    clip = Clip(name="c", frame_ids=("a", "b"), size_hw=(4, 5), depth=Source.of(found))
    clip = clip.replace(
        truth=Clip(
            name="c", frame_ids=("a", "b"), size_hw=(4, 5), depth=Source.of(truth)
        )
    )
    scale, shift = np.array([2.0, 1.0]), np.array([0.0, 2.0])
    scores = place_errors.depth_errors(clip, scale, shift, "depth")
    assert scores["depth_abs_relative_difference_after"] == pytest.approx(0, abs=1e-6)
    assert scores["depth_abs_relative_difference_before"] == pytest.approx(
        (0.5 + 2 / 3) / 2, abs=1e-6
    )
