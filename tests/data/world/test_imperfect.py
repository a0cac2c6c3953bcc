"""Faults are as strong as asked, last as long as asked, and come from the seed."""

import dataclasses

import numpy as np
import pytest

from egojax.data.world.faults import Imperfections
from egojax.data.world.imperfect import PRESETS, imperfect, segment_id
from egojax.types import Camera, Clip, Objects, Source

SIZE_HW = (60, 100)
NUM_FRAMES = 240


def true_labels(t: int) -> np.ndarray:
    """Objects 3, 5, 9 side by side; 9 is out of view in frames 60..119."""
    labels = np.zeros(SIZE_HW, np.int32)
    labels[20:40, 10:30] = 3
    labels[20:40, 32:52] = 5
    if not 60 <= t < 120:
        labels[15:45, 70:90] = 9
    return labels


@pytest.fixture(scope="module")
def clip() -> Clip:
    objects = Objects(
        ids=np.array([3, 5, 9]),
        category=np.array([0, 0, 1], np.int32),
        centers=np.zeros((3, 3)),
    )
    camera = Camera(intrinsics=np.eye(3), w2c=np.eye(4), size_hw=SIZE_HW)
    truth = Clip(
        name="toy",
        frame_ids=tuple(str(t) for t in range(NUM_FRAMES)),
        size_hw=SIZE_HW,
        labels=Source(true_labels, NUM_FRAMES),
        objects=Source(lambda t: objects, NUM_FRAMES),
        depth=Source(lambda t: np.full(SIZE_HW, 2.0, np.float32), NUM_FRAMES),
        camera=Source(lambda t: camera, NUM_FRAMES),
    )
    names = ("mug", "pan", "lid")
    return Clip("toy", truth.frame_ids, SIZE_HW, category_names=names, truth=truth)


def owners(clip: Clip, t: int) -> dict[int, set[int]]:
    """Which 2D ids lie on each true object."""
    assert clip.labels is not None
    labels, truth = clip.labels[t], true_labels(t)
    return {k: set(labels[truth == k].tolist()) for k in (3, 5, 9)}


def test_without_faults_every_object_keeps_one_id_and_its_pixels(clip):
    out = imperfect(clip, Imperfections(), 0)
    for t in (0, 59, 60, 130, 239):
        truth, labels = true_labels(t), out.labels[t]
        assert ((truth > 0) == (labels > 0)).all()
        assert owners(out, t)[3] == owners(out, 0)[3]
    assert owners(out, 130)[9] == owners(out, 0)[9]
    np.testing.assert_array_equal(out.depth[5], 2.0)
    np.testing.assert_array_equal(out.camera[5].w2c, np.eye(4))


def test_only_an_absence_that_is_long_enough_costs_the_id(clip):
    for forget_after, changes in ((59, True), (60, False)):
        out = imperfect(clip, Imperfections(forget_after=forget_after), 0)
        assert (owners(out, 59)[9] != owners(out, 120)[9]) == changes
        assert owners(out, 59)[3] == owners(out, 120)[3]


def test_the_table_lists_exactly_the_segments_of_the_map(clip):
    out = imperfect(clip, PRESETS["all"], 3)
    for t in range(0, NUM_FRAMES, 7):
        table, features = out.segments[t], out.features[t]
        np.testing.assert_array_equal(
            table.ids, np.setdiff1d(np.unique(out.labels[t]), [0])
        )
        np.testing.assert_array_equal(table.ids, features.ids)
        assert ((table.category >= 0) & (table.category < 3)).all()
        assert np.isfinite(features.values).all()


def test_a_wrong_category_sticks_to_the_2d_id(clip):
    out = imperfect(clip, Imperfections(switch_rate=2.0, wrong_category=0.5), 1)
    found: dict[int, set[int]] = {}
    for t in range(NUM_FRAMES):
        table = out.segments[t]
        for key, category in zip(table.ids, table.category, strict=True):
            found.setdefault(int(key), set()).add(int(category))
    assert len(found) > 15
    assert all(len(categories) == 1 for categories in found.values())


def test_look_alikes_swap_and_others_do_not(clip):
    out = imperfect(clip, Imperfections(swap_rate=3.0), 0)
    first = owners(out, 0)
    at = [owners(out, t) for t in range(NUM_FRAMES)]
    assert any(frame[3] == first[5] and frame[5] == first[3] for frame in at)
    assert all(frame[9] <= first[9] for frame in at)


def test_a_split_leaves_two_ids_on_one_object_and_a_merge_one_id_on_two(clip):
    split = imperfect(clip, Imperfections(split_rate=1.0), 0)
    assert any(len(owners(split, t)[3]) == 2 for t in range(NUM_FRAMES))
    merged = imperfect(clip, Imperfections(merge_rate=1.0), 0)
    frames = [owners(merged, t) for t in range(NUM_FRAMES)]
    assert any(frame[3] == frame[5] for frame in frames)


def test_misses_last_about_as_long_as_asked(clip):
    out = imperfect(clip, Imperfections(miss_rate=1.0, fault_frames=6.0), 5)
    missed = np.array([owners(out, t)[3] == {0} for t in range(NUM_FRAMES)])
    starts = (missed[1:] & ~missed[:-1]).sum()
    assert 2 <= starts <= 16
    assert 2.0 < missed.sum() / starts < 15.0


def test_the_order_of_reading_does_not_matter(clip):
    forward = imperfect(clip, PRESETS["all"], 7)
    backward = imperfect(clip, PRESETS["all"], 7)
    there = [forward.labels[t] for t in range(40)]
    back = [backward.labels[t] for t in reversed(range(40))][::-1]
    np.testing.assert_array_equal(there, back)
    other = imperfect(clip, PRESETS["all"], 8)
    assert any((other.labels[t] != there[t]).any() for t in range(40))


def test_depth_has_the_scale_and_shift_that_was_asked_for(clip):
    out = imperfect(clip, Imperfections(depth_scale=1.25, depth_shift=0.5), 0)
    np.testing.assert_allclose(out.depth[3] * 1.25 + 0.5, 2.0, rtol=1e-6)


def test_pose_errors_have_their_size_and_drift_slowly(clip):
    out = imperfect(clip, Imperfections(pose_metres=0.1, pose_degrees=1.0), 0)
    moves = np.array([out.camera[t].w2c for t in range(NUM_FRAMES)])
    assert 0.03 < np.std(moves[:, :3, 3]) < 0.3
    steps = np.linalg.norm(np.diff(moves[:, :3, 3], axis=0), axis=1)
    assert steps.max() < 0.03
    rotations = moves[:, :3, :3]
    eye = rotations @ np.swapaxes(rotations, 1, 2)
    np.testing.assert_allclose(eye, np.broadcast_to(np.eye(3), eye.shape), atol=1e-9)


def test_ids_are_distinct_and_look_like_those_of_deva():
    ids = segment_id(np.arange(1, 50_000))
    assert len(np.unique(ids)) == len(ids)
    assert ids.min() >= 256 and ids.max() < 1 << 24
    assert segment_id(np.array([0]))[0] == 0


def test_a_clip_without_truth_is_refused(clip):
    with pytest.raises(ValueError, match="no true labels"):
        imperfect(dataclasses.replace(clip, truth=None), Imperfections(), 0)
