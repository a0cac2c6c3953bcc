"""Numbers of motion segmentation: by hand, and against the metrics that they are of."""

import dataclasses

import numpy as np
import pytest

from egojax.errors import FrameError
from egojax.methods import motion_scores
from egojax.methods.motion_scores import JudgedFrame, body_pairs, score_clip
from egojax.metrics import PartitionScores, region_similarity
from egojax.types import Clip, Objects, PointTracks, Source


def _disk(center, radius=6, size=(30, 40), value=1):
    y, x = np.mgrid[: size[0], : size[1]]
    inside = (x - center[0]) ** 2 + (y - center[1]) ** 2 < radius**2
    return np.where(inside, value, 0).astype(np.int32)


def _frames(shift=2, count=4):
    for t in range(count):
        truth = _disk((10 + t, 12)) + _disk((28, 15), value=2)
        found = _disk((10 + t + shift, 12), value=2) + _disk((28, 15), value=1)
        yield JudgedFrame(t, truth, found)


def test_a_perfect_answer_under_other_names_is_perfect():
    found = score_clip(_frames(shift=0), None, None)
    assert found.names["J"] == found.names["F"] == found.names["bodies_IoU"] == 1
    assert found.pairs == {1: 2, 2: 1}
    assert found.names["bodies"] == found.names["groups"] == 2


def test_j_of_frames_is_the_metric_and_the_mean_is_theirs():
    found = score_clip(_frames(), None, None)
    expected = [region_similarity(f.true_labels > 0, f.labels > 0) for f in _frames()]
    np.testing.assert_allclose([r["J"] for r in found.frames.values()], expected)
    assert found.names["J"] == pytest.approx(np.mean(expected))


def test_a_body_without_a_group_counts_as_zero():
    one = [
        JudgedFrame(0, f.true_labels, np.where(f.labels == 1, 1, 0))
        for f in _frames(0, 1)
    ]
    assert score_clip(one, None, None).names["bodies_IoU"] == 0.5


def test_void_pixels_do_not_count():
    truth, found = _disk((10, 10)), _disk((10, 10))
    found[20:] = 1
    truth[20:] = 255
    names = score_clip([JudgedFrame(0, truth, found)], None, None).names
    assert names["J"] == 1 and names["bodies_IoU"] == 1


def test_what_the_truth_picks_is_the_better_one_of_both_groups():
    """A disk that was called the rest of the frame; void belongs to neither."""
    truth = _disk((10, 10))
    rest = (truth == 0).astype(np.int32)
    truth[20:] = 255
    (row,) = score_clip([JudgedFrame(0, truth, rest)], None, None).frames.values()
    assert row["IoU"] == 0 and row["IoU_by_truth"] == 1
    rows = score_clip(_frames(), None, None).frames.values()
    assert all(row["IoU_by_truth"] == row["IoU"] == row["J"] for row in rows)


def test_points_are_scored_by_their_masks_and_tracks_by_their_groups():
    """Four points, one of each body wrong in the masks, one without a group."""
    truth, found = np.zeros((8, 8), np.int32), np.zeros((8, 8), np.int32)
    truth[:, 4:] = 1
    found[:, 4:] = 1
    found[0, 0] = 1
    xy = np.array([[0.5, 0.5], [1.5, 1.5], [5.5, 2.5], [6.5, 3.5]], np.float32)
    ones = np.ones(4, np.int32)
    tracks = PointTracks(ones - 1, ones, xy, (8, 8))
    names = score_clip(
        [JudgedFrame(0, truth, found)], tracks, np.array([0, 0, 1, -1])
    ).names
    assert names["tracks_ARI"] == 1 and names["tracks_share"] == 0.75
    expected = PartitionScores.of(np.array([0, 0, 1, 1]), np.array([1, 0, 1, 1]))
    assert names["points_ARI"] == pytest.approx(expected.compute()["ARI"])


def test_no_frames_have_no_numbers():
    found = score_clip([], None, None)
    assert found.frames == {} and "J" not in found.names


def test_each_group_is_of_one_body_only():
    table = PartitionScores.of(np.array([1, 1, 1, 2]), np.array([5, 5, 5, 5]))
    pairs, iou = body_pairs(table)
    assert pairs == {1: 5} and iou == {1: 0.75, 2: 0.0}


# ---------------------------------------------------------------------------- truth


def _clip(labels, objects=None):
    count = len(labels)
    ids = tuple(str(t) for t in range(count))
    truth = Clip(
        "c",
        ids,
        (2, 2),
        labels=labels if isinstance(labels, Source) else Source.of(labels),
        objects=objects,
    )
    return Clip("c", ids, (2, 2), truth=truth)


def _objects(motion):
    ids = np.array([1, 2])
    return Objects(ids, ids * 0, np.zeros((2, 3)), motion=np.array(motion, np.int8))


def test_only_what_moves_at_some_time_is_true():
    labels = [np.array([[1, 2], [0, 0]])] * 2
    clip = _clip(labels, Source.of([_objects([0, 0]), _objects([0, 2])]))
    rows = [row for _, row in motion_scores.true_frames(clip)]
    np.testing.assert_array_equal(rows, [[[0, 2], [0, 0]]] * 2)


def test_masks_of_0_and_255_are_one_body_and_255_beside_others_is_void():
    mask = np.array([[0, 255], [255, 0]])
    rows = [r for _, r in motion_scores.true_frames(_clip([mask * 0, mask]))]
    np.testing.assert_array_equal(rows[1], mask // 255)
    kept = np.array([[1, 255], [0, 0]])
    rows = [r for _, r in motion_scores.true_frames(_clip([kept]))]
    np.testing.assert_array_equal(rows[0], kept)


def test_frames_without_truth_or_that_cannot_be_read_are_left_out():
    def read(t):
        if t == 1:
            raise FrameError("damaged")
        return None if t == 0 else np.ones((2, 2), int)

    clip = _clip(Source(read, 3))
    assert [t for t, _ in motion_scores.true_frames(clip)] == [2]
    assert not list(motion_scores.true_frames(Clip("c", ("0",), (2, 2))))


def test_what_never_moves_is_background():
    things = Objects(np.array([1, 2]), np.zeros(2, np.int32), np.zeros((2, 3)))
    motion = np.array([2, 0]), np.array([1, 0])
    found = [dataclasses.replace(things, motion=m) for m in motion]
    image = _disk((10, 12)) + _disk((28, 15), value=2)
    clip = Clip("c", ("a", "b"), (30, 40))
    assert motion_scores.of_what_moves(clip) is clip
    clip = clip.replace(labels=Source.of([image, None]), objects=Source.of(found))
    labels = motion_scores.of_what_moves(clip).labels
    np.testing.assert_array_equal(labels[0], np.where(image == 1, 1, 0))
    assert labels[0].dtype == np.int32 and labels[1] is None
    # Without word of what moves all things count.
    clip = clip.replace(objects=None)
    np.testing.assert_array_equal(motion_scores.of_what_moves(clip).labels[0], image)


def test_it_is_told_how_long_ids_last():
    """The group of body 1 changes half way, that of body 2 stays."""
    frames = [*_frames(0, 8)]
    for t in range(4, 8):
        labels = np.where(frames[t].labels == 2, 9, frames[t].labels)
        frames[t] = frames[t]._replace(labels=labels)
    names = score_clip(frames, None, None).names
    assert names["ids_first"] == names["ids_main"] == names["IDF1"] == 0.75
    assert names["ids_switches"] == 1000 / 16 and names["ids_named"] == 1
