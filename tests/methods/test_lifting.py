"""Observations: which segments are kept, where they are, how deep they lie."""

import numpy as np
import pytest

from egojax.errors import FrameError
from egojax.methods import lifting
from egojax.methods.lifting import Selection
from egojax.types import Camera, SegmentFeatures, Segments

KEEP_ALL = Selection(min_pixels=0)


def table(*rows: tuple[int, int, float]) -> Segments:
    ids, category, score = zip(*rows, strict=True)
    return Segments(
        np.array(ids, np.int64), np.array(category, np.int32), np.array(score, "f4")
    )


def test_the_published_centroid_is_truncated_and_may_leave_the_mask():
    """Oracle T2 of the spec: (u, v) = (3, 2) and, for the ring, (3, 3)."""
    labels = np.zeros((6, 8), np.int32)
    labels[1:4, 2:5] = 7
    labels[4, 6] = 7
    depth = np.arange(48, dtype=np.float32).reshape(6, 8)
    out = lifting.observe(labels, None, depth, selection=KEEP_ALL, mode="centroid")
    np.testing.assert_array_equal(out.centroid_xy, [[3, 2]])
    assert out.raw_depth[0] == depth[2, 3]
    ring = np.zeros((7, 7), np.int32)
    ring[1:6, 1:6] = 2
    ring[2:5, 2:5] = 0
    deep = np.ones((7, 7), np.float32)
    deep[3, 3] = 9.0
    out = lifting.observe(ring, None, deep, selection=KEEP_ALL, mode="centroid")
    np.testing.assert_array_equal(out.centroid_xy, [[3, 3]])
    assert out.raw_depth[0] == 9.0


def test_the_median_stays_inside_the_mask_and_ignores_its_rim():
    labels = np.zeros((20, 20), np.int32)
    labels[2:16, 2:16] = 4
    depth = np.full((20, 20), 5.0, np.float32)
    depth[4:14, 4:14] = 2.0
    out = lifting.observe(labels, None, depth, selection=KEEP_ALL)
    assert out.raw_depth[0] == 2.0
    x, y = out.centroid_xy[0]
    assert labels[int(y), int(x)] == 4 and x % 1 == 0.5


def test_a_thin_mask_falls_back_to_all_of_its_pixels():
    labels = np.zeros((9, 9), np.int32)
    labels[4, 1:8] = 1
    depth = np.full((9, 9), 3.0, np.float32)
    out = lifting.observe(labels, None, depth, selection=KEEP_ALL, erode=2)
    assert out.raw_depth[0] == 3.0


@pytest.mark.parametrize("mode", ["median", "centroid"])
def test_no_finite_depth_means_no_depth(mode):
    labels = np.ones((5, 5), np.int32)
    depth = np.full((5, 5), np.inf, np.float32)
    out = lifting.observe(labels, None, depth, selection=KEEP_ALL, mode=mode)
    assert np.isnan(out.raw_depth[0])
    out = lifting.observe(labels, None, None, selection=KEEP_ALL, mode=mode)
    assert np.isnan(out.raw_depth[0])


def test_small_and_ignored_segments_are_left_out():
    labels = np.zeros((30, 40), np.int32)
    labels[0:20, 0:25] = 11  # 500 pixels: not more than 500.
    labels[0:21, 26:50] = 9_000_001
    labels[22:30, 0:40] = 13
    segments = table((9_000_001, 2, 0.5), (13, 1, 0.9), (11, 0, 0.8))
    selection = Selection(min_pixels=200, ignored=frozenset({1}))
    out = lifting.observe(labels, segments, None, selection=selection)
    np.testing.assert_array_equal(out.segment_id, [11, 9_000_001])
    np.testing.assert_array_equal(out.category, [0, 2])
    np.testing.assert_allclose(out.score, [0.8, 0.5])
    out = lifting.observe(labels, segments, None, selection=Selection(500))
    assert 11 not in out.segment_id


def test_a_frame_covered_by_segments_loses_none():
    """The published code takes the smallest id for the background there."""
    labels = np.ones((10, 10), np.int32)
    labels[:, 5:] = 2
    out = lifting.observe(labels, None, None, selection=KEEP_ALL)
    np.testing.assert_array_equal(out.segment_id, [1, 2])


def test_features_are_joined_by_id_and_must_not_be_missing():
    labels = np.ones((4, 4), np.int32)
    labels[:2] = 5
    features = SegmentFeatures(np.array([5, 1, 8]), np.eye(3, dtype=np.float32))
    out = lifting.observe(labels, None, None, features, selection=KEEP_ALL)
    np.testing.assert_array_equal(out.feature, [[0, 1, 0], [1, 0, 0]])
    with pytest.raises(FrameError, match=r"\[1\] have no feature"):
        lifting.observe(
            labels,
            None,
            None,
            SegmentFeatures(np.array([5]), np.ones((1, 3), np.float32)),
            selection=KEEP_ALL,
        )


def test_an_empty_frame_has_no_observations():
    out = lifting.observe(np.zeros((8, 8), np.int32), None, None, selection=KEEP_ALL)
    assert all(len(column) == 0 for column in out)


def test_lifted_points_are_in_metres():
    camera = Camera(
        intrinsics=np.array([[[10.0, 0, 5], [0, 10, 5], [0, 0, 1]]] * 2),
        w2c=np.array([np.eye(4)] * 2),
        size_hw=(10, 10),
    )
    xy, depth = np.array([[5.0, 5], [15, 5]]), np.array([2.0, np.inf])
    points = lifting.lift(xy, depth, camera, metric_scale=0.5)
    np.testing.assert_allclose(points[0], [0, 0, 1.0], atol=1e-6)
    assert np.isnan(points[1]).all()
