"""Which masks of a clip are in front, and what tracks and pixels make of it."""

import numpy as np
import pytest

from egojax.methods.mask_fronts import (
    TrackVotes,
    front_evidence,
    front_labels,
    fronts,
    motion_excess,
)
from egojax.types import PointTracks

HW = (20, 30)


def three(shift: int = 0) -> np.ndarray:
    """Nearly hard masks: the left of the ground, its right, and a box on them."""
    i, j = np.mgrid[: HW[0], : HW[1]]
    box = (abs(i - 10) < 4) & (abs(j - 14 - shift) < 5)
    hard = np.stack([(j < 15) & ~box, (j >= 15) & ~box, box])
    soft = 0.98 * hard + 0.01
    return (soft / soft.sum(0)).astype(np.float32)


def flow_of(masks: np.ndarray, speed: float = 3.0) -> np.ndarray:
    """A ground that turns and zooms (a quadratic), and a box that moves on it."""
    i, j = (x / 20 for x in np.mgrid[: HW[0], : HW[1]])
    ground = np.stack([0.5 + i - 0.3 * j * j, 0.2 * i * j - 1], -1)
    moved = ground + np.array([speed, 0.0])
    return np.where(masks[2][..., None] > 0.5, moved, ground).astype(np.float32)


def test_the_excess_of_a_motion_is_what_a_fit_by_hand_leaves():
    """NumPy in float64, pixel by pixel."""
    masks, rng = three().astype(np.float64), np.random.default_rng(0)
    flow = flow_of(masks) + 0.1 * rng.normal(size=(*HW, 2))
    i, j = np.mgrid[: HW[0], : HW[1]]
    x, y = i.ravel() / HW[0], j.ravel() / HW[1]
    basis = np.stack([x, y, x * x, y * y, x * y, np.ones_like(x)], 1)
    target, weight = flow.reshape(-1, 2), masks.reshape(3, -1)
    rest = []
    for w in weight:
        theta = np.linalg.lstsq(w[:, None] * basis, w[:, None] * target, None)[0]
        rest.append(((target - basis @ theta) ** 2).sum(1))
    even = weight**2
    mean = np.array([[(w * r).sum() / w.sum() for r in rest] for w in even])
    expected = np.sqrt(np.maximum(mean - np.diag(mean)[:, None], 0))
    found = motion_excess(masks.astype(np.float32), flow.astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
    assert found[2, 0] > 2.5  # The box does not follow the ground.


def test_empty_masks_and_a_clip_at_rest_have_no_excess():
    masks = np.zeros((2, *HW), np.float32)
    masks[0] = 1
    found = motion_excess(masks, np.zeros((*HW, 2), np.float32))
    np.testing.assert_array_equal(found, 0)


def test_the_border_and_the_motion_choose_what_is_in_front():
    """One half of the ground is behind, the other moves with it: so it is, too."""
    found = [front_evidence(three(t), flow_of(three(t))) for t in range(3)]
    np.testing.assert_array_equal(fronts(found, 1.0), [False, False, True])
    np.testing.assert_array_equal(fronts(found, 4.0), [False] * 3)
    assert fronts(found, 0.0).sum() == 2  # Without motion, all but one are in front.


def test_frames_without_flow_say_nothing_of_motion():
    bare = [front_evidence(three()) for _ in range(2)]
    assert fronts(bare, 100.0).sum() == 2
    moving = front_evidence(three(), flow_of(three()))
    np.testing.assert_array_equal(fronts([*bare, moving], 1.0), [False, False, True])


def test_a_mask_that_comes_late_is_judged_by_where_it_is():
    """In most frames it has no area, and there the fit of nothing moves nowhere."""
    absent = three()
    absent[0] += absent[2]
    absent[2] = 0
    rows = [front_evidence(absent, flow_of(absent)) for _ in range(4)]
    rows += [front_evidence(three(t), flow_of(three(t))) for t in range(2)]
    assert fronts(rows, 1.0)[2]


def test_masks_that_look_alike_are_one():
    """Both halves of the ground look alike: the front is the box alone."""
    features = np.where(three()[2][..., None] > 0.5, [0.0, 1.0], [1.0, 0.1])
    rows = [front_evidence(three(), features=features.astype(np.float32))]
    found = fronts(rows, 0.0, by_features=True)
    np.testing.assert_array_equal(found, [False, False, True])
    with pytest.raises(ValueError, match="there are none"):
        fronts([front_evidence(three())], 0.0, by_features=True)
    with pytest.raises(ValueError, match="no frame says anything"):
        fronts([], 0.0)


def test_labels_count_the_masks_in_front():
    masks = np.float32([[[0.6, 0.4, 0.4]], [[0.1, 0.35, 0.2]], [[0.3, 0.25, 0.4]]])
    labels = front_labels(masks, np.array([False, True, True]))
    np.testing.assert_array_equal(labels, [[0, 1, 2]])
    np.testing.assert_array_equal(
        front_labels(masks, np.array([True, False, False])), [[1, 0, 0]]
    )
    assert not front_labels(masks, np.zeros(3, bool)).any()


def test_a_track_is_of_the_mask_that_it_is_under_most_often():
    xy = np.float32([[1.5, 0.5]] * 3 + [[2.5, 0.5]] * 2)
    first, count = np.int32([0, 1, 4]), np.int32([3, 1, 1])
    tracks = PointTracks(first, count, xy, (1, 4))
    votes = TrackVotes(tracks, 3)
    for t, labels in enumerate(([[0, 2, 0, 0]], [[0, 1, 1, 0]], [[0, 2, 0, 0]])):
        votes.add(t, np.array(labels, np.int32))
    np.testing.assert_array_equal(votes.groups(), [2, 1, -1])
    none = PointTracks(first[:0], count[:0], xy[:0], (1, 4))
    empty = TrackVotes(none, 3)
    empty.add(0, np.zeros((1, 4), np.int32))
    assert empty.groups().shape == (0,)
