"""Label maps on the host, against plain loops."""

import cv2
import numpy as np
import pytest

from egojax.ops import segments


def blobs(seed: int, ids=(3, 9, 70_000), size_hw=(23, 31)) -> np.ndarray:
    """A label map of overlapping rectangles."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(size_hw, np.int32)
    for number in ids:
        y, x = rng.integers(0, size_hw[0] - 6), rng.integers(0, size_hw[1] - 8)
        labels[y : y + rng.integers(2, 12), x : x + rng.integers(2, 14)] = number
    return labels


def oracle_table(labels: np.ndarray):
    """Area, centroid, truncated centroid and box of each id, by its definition."""
    rows = []
    for number in np.unique(labels[labels > 0]):
        y, x = np.nonzero(labels == number)
        box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
        center = (x.mean() + 0.5, y.mean() + 0.5)
        rows.append((number, len(x), center, (int(x.mean()), int(y.mean())), box))
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_statistics_equal_the_definition(seed):
    labels = blobs(seed)
    expected = oracle_table(labels)
    ids, ranked = segments.rank_labels(labels)
    found = segments.measure_ranked(ranked, 5)
    assert [row[0] for row in expected] == ids.tolist()
    for row, (_, area, center, official, box) in enumerate(expected):
        assert int(found.area[row]) == area
        np.testing.assert_allclose(found.centroid_xy[row], center, rtol=1e-12)
        assert tuple(found.official_xy[row]) == official
        assert tuple(found.box_xyxy[row]) == box
    # Ranks without pixels.
    assert not any(column[len(expected) :].any() for column in found)


def test_official_centroid_is_truncated_and_may_leave_the_mask():
    """Oracle T2 of the EgoSeg3D spec."""
    mask = np.zeros((6, 8), np.int32)
    mask[1:4, 2:5] = 1
    mask[4, 6] = 1
    ring = np.zeros((7, 7), np.int32)
    ring[1:6, 1:6] = 1
    ring[2:5, 2:5] = 0
    for labels, expected, center in (
        (mask, (3, 2), (3.8, 2.7)),
        (ring, (3, 3), (3.5, 3.5)),
    ):
        found = segments.measure_ranked(labels, 1)
        assert tuple(found.official_xy[0]) == expected
        np.testing.assert_allclose(found.centroid_xy[0], center, rtol=1e-12)
    assert ring[3, 3] == 0


def test_centroids_stay_exact_where_sums_pass_32_bits():
    """A 4k image that one segment fills: the sum of its columns is 2^33.9."""
    found = segments.measure_ranked(np.ones((2160, 3840), np.int32), 1)
    np.testing.assert_array_equal(found.centroid_xy[0], [1920.0, 1080.0])
    np.testing.assert_array_equal(found.official_xy[0], [1919, 1079])


def test_a_frame_without_segments_has_no_rows():
    ids, ranked = segments.rank_labels(np.zeros((4, 5), np.int32))
    assert ids.shape == (0,) and not ranked.any()
    assert all(len(column) == 0 for column in segments.measure_ranked(ranked, 0))
    assert segments.medians(np.ones((4, 5)), ranked, 0)[0].shape == (0,)


@pytest.mark.parametrize("top", [5, 60_000, 2**31 - 1])
def test_ranks_follow_the_ids(top):
    labels = np.asarray([[0, top, 2], [2, 3, top]], np.int32)
    ids, ranked = segments.rank_labels(labels)
    assert ids.tolist() == [2, 3, top]
    assert ranked.tolist() == [[0, 3, 1], [1, 2, 3]]


def test_other_ids_are_given_and_those_without_one_become_background():
    labels = np.asarray([[0, 70_000, 2], [2, 3, 70_000]], np.uint32)
    found = segments.renamed(labels, {2: 9, 70_000: 1, 5: 4, 0: 8})
    assert found.dtype == np.int32 and found.tolist() == [[0, 1, 9], [9, 0, 1]]
    assert not segments.renamed(labels, {}).any()


@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_an_empty_map_has_no_ids(shape):
    ids, ranked = segments.rank_labels(np.zeros(shape, np.int32))
    assert ids.shape == (0,) and ranked.shape == shape


def test_negative_labels_are_refused():
    with pytest.raises(ValueError, match="-1"):
        segments.rank_labels(np.asarray([[-1, 2]]))


@pytest.mark.parametrize("seed", range(4))
def test_medians_equal_numpy(seed):
    """Ties, negative values, infinities, NaN and an even number of values."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, (40, 50)).astype(np.int32)
    values = rng.normal(0, 10 ** rng.uniform(-20, 20), (40, 50)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = 1.5
    values[rng.random(values.shape) < 0.1] = np.inf
    values[rng.random(values.shape) < 0.1] = np.nan
    valid = rng.random(values.shape) < 0.8
    found, count = segments.medians(values, labels, 6, valid)
    for row in range(5):
        picked = values[(labels == row + 1) & valid & ~np.isnan(values)]
        expected = np.median(picked.astype(np.float64))
        assert int(count[row]) == len(picked)
        np.testing.assert_allclose(found[row], expected, rtol=1e-7)
    assert np.isnan(found[5]) and count[5] == 0


@pytest.mark.parametrize("radius", [0, 1, 2, 3])
def test_erosion_equals_the_definition(radius):
    labels = blobs(7)
    expected = np.zeros_like(labels)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            window = labels[
                max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1
            ]
            if (window == labels[y, x]).all():
                expected[y, x] = labels[y, x]
    np.testing.assert_array_equal(segments.erode(labels, radius), expected)


@pytest.mark.parametrize("seed", range(3))
def test_the_pixel_nearest_to_the_centroid_lies_in_the_mask(seed):
    labels = blobs(seed)
    ids, ranked = segments.rank_labels(labels)
    table = segments.measure_ranked(ranked, len(ids))
    found = segments.nearest_inside(ranked, table.centroid_xy, table.box_xyxy)
    for number, center, (column, line) in zip(
        ids, table.centroid_xy, found, strict=True
    ):
        y, x = np.nonzero(labels == number)
        least = np.hypot(x + 0.5 - center[0], y + 0.5 - center[1]).min()
        assert labels[line, column] == number
        mine = np.hypot(column + 0.5 - center[0], line + 0.5 - center[1])
        np.testing.assert_allclose(mine, least, rtol=1e-12)


def test_a_map_where_every_pixel_is_a_segment_of_its_own_is_measured_too():
    """More segments than 16 bits hold: what a noise image read as labels gives."""
    labels = np.arange(1, 300 * 240 + 1, dtype=np.int32).reshape(300, 240)
    ids, ranked = segments.rank_labels(labels)
    medians, count = segments.medians(labels.astype(float), ranked, len(ids))
    np.testing.assert_array_equal(medians, ids)
    assert (count == 1).all() and not segments.erode(labels, 1).any()


@pytest.mark.parametrize("new", [(256, 456), (480, 854), (7, 3), (40, 61)])
def test_the_official_resize_is_opencvs_nearest(new):
    labels = np.random.default_rng(0).integers(-1, 300, (40, 61), np.int32)
    found = segments.resize_official(labels, new)
    expected = cv2.resize(labels, new[::-1], interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(found, expected)
