"""Label maps under jit and on the host, against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from egojax.ops import masks, segments


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
def test_statistics_equal_the_definition_on_both_sides(seed):
    labels = blobs(seed)
    expected = oracle_table(labels)
    host = segments.measure(labels)
    ids = jnp.asarray([*host.ids, *[0] * (5 - len(host.ids))], jnp.int32)
    found = masks.segment_statistics(masks.rank_labels(jnp.asarray(labels), ids), 5)
    assert [row[0] for row in expected] == host.ids.tolist()
    for row, (_, area, center, official, box) in enumerate(expected):
        for side in (host, found):
            assert int(side.area[row]) == area
            np.testing.assert_allclose(side.centroid_xy[row], center, rtol=1e-6)
            assert tuple(np.asarray(side.official_xy[row])) == official
            assert tuple(np.asarray(side.box_xyxy[row])) == box
    assert not found.area[len(expected) :].any()
    assert not found.box_xyxy[len(expected) :].any()


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
        for side in (
            masks.segment_statistics(jnp.asarray(labels), 1),
            segments.measure(labels),
        ):
            assert tuple(np.asarray(side.official_xy[0])) == expected
            np.testing.assert_allclose(side.centroid_xy[0], center, rtol=1e-6)
    assert ring[3, 3] == 0


def test_centroids_stay_exact_where_sums_pass_32_bits():
    """A 4k image that one segment fills: the sum of its columns is 2^33.9."""
    labels = np.ones((2160, 3840), np.int32)
    found = masks.segment_statistics(jnp.asarray(labels), 1)
    np.testing.assert_array_equal(found.centroid_xy[0], [1920.0, 1080.0])
    np.testing.assert_array_equal(found.official_xy[0], [1919, 1079])


def test_a_frame_without_segments_gives_zeros():
    labels = np.zeros((4, 5), np.int32)
    found = masks.segment_statistics(jnp.asarray(labels), 2)
    assert all(not np.asarray(column).any() for column in found)
    assert len(segments.measure(labels).ids) == 0
    medians, count = masks.segment_medians(
        jnp.ones((4, 5)), jnp.asarray(labels), 2, jnp.ones((4, 5), bool)
    )
    assert np.isnan(medians).all() and not count.any()
    assert segments.medians(np.ones((4, 5)), labels, 0)[0].shape == (0,)


@pytest.mark.parametrize("top", [5, 60_000, 2**31 - 1])
def test_ranks_follow_the_ids_and_drop_strangers(top):
    labels = np.asarray([[0, top, 2], [2, 3, top]], np.int32)
    ids, ranked = segments.rank_labels(labels)
    assert ids.tolist() == [2, 3, top]
    assert ranked.tolist() == [[0, 3, 1], [1, 2, 3]]
    some = jnp.asarray([2, top, 0, 0], jnp.int32)
    found = masks.rank_labels(jnp.asarray(labels), some)
    assert found.tolist() == [[0, 2, 1], [1, 0, 2]]


@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_an_empty_map_has_no_ids(shape):
    ids, ranked = segments.rank_labels(np.zeros(shape, np.int32))
    assert ids.shape == (0,) and ranked.shape == shape


def test_negative_labels_are_refused_on_the_host():
    with pytest.raises(ValueError, match="-1"):
        segments.rank_labels(np.asarray([[-1, 2]]))


@pytest.mark.parametrize("seed", range(4))
def test_medians_equal_numpy_bit_by_bit(seed):
    """Ties, negative values, infinities, NaN and an even number of values."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, (40, 50)).astype(np.int32)
    labels[labels == 5] = 0
    labels[0, :2] = 5
    values = rng.normal(0, 10 ** rng.uniform(-20, 20), (40, 50)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = 1.5
    values[rng.random(values.shape) < 0.1] = np.inf
    values[rng.random(values.shape) < 0.1] = np.nan
    valid = rng.random(values.shape) < 0.8
    valid[0, :2] = True
    values[0, :2] = 3e38
    found, count = masks.segment_medians(
        jnp.asarray(values), jnp.asarray(labels), 6, jnp.asarray(valid)
    )
    host, host_count = segments.medians(values, labels, 6, valid)
    for row in range(5):
        picked = values[(labels == row + 1) & valid & ~np.isnan(values)]
        expected = np.median(picked.astype(np.float64))
        assert int(count[row]) == int(host_count[row]) == len(picked)
        np.testing.assert_allclose(found[row], expected, rtol=1e-7)
        if row < 4:
            np.testing.assert_allclose(host[row], expected, rtol=1e-7)
    assert np.isnan(found[5]) and np.isnan(host[5])


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
    np.testing.assert_array_equal(masks.erode_labels(labels, radius), expected)
    np.testing.assert_array_equal(segments.erode(labels, radius), expected)


@pytest.mark.parametrize("seed", range(3))
def test_the_pixel_nearest_to_the_centroid_lies_in_the_mask(seed):
    labels = blobs(seed)
    ids, ranked = segments.rank_labels(labels)
    table = segments.measure(labels)
    host = segments.nearest_inside(ranked, table.centroid_xy, table.box_xyxy)
    found = masks.centroid_inside(
        jnp.asarray(ranked), jnp.asarray(table.centroid_xy, jnp.float32), len(ids)
    )
    for row, number in enumerate(ids):
        y, x = np.nonzero(labels == number)
        gap = np.hypot(
            x + 0.5 - table.centroid_xy[row, 0], y + 0.5 - table.centroid_xy[row, 1]
        )
        for column, line in (host[row], np.asarray(found[row])):
            assert labels[line, column] == number
            center = table.centroid_xy[row]
            mine = np.hypot(column + 0.5 - center[0], line + 0.5 - center[1])
            np.testing.assert_allclose(mine, gap.min(), rtol=1e-6)


def test_labels_and_masks_are_two_views_of_the_same():
    labels = blobs(2)
    ids = jnp.asarray([3, 9, 70_000, 0], jnp.int32)
    split = masks.masks_from_labels(jnp.asarray(labels), ids)
    assert not split[3].any()
    np.testing.assert_array_equal(masks.labels_from_masks(split, ids), labels)


def test_the_last_mask_is_painted_on_top():
    both = jnp.ones((2, 1, 1), bool)
    assert masks.labels_from_masks(both, jnp.asarray([7, 4])).tolist() == [[4]]
    none = masks.labels_from_masks(jnp.zeros((0, 2, 3), bool), jnp.zeros(0, jnp.int32))
    assert none.tolist() == [[0] * 3] * 2


def test_boundaries_are_the_pixels_with_a_foreign_neighbour():
    labels = blobs(5)
    padded = np.pad(labels, 1, mode="edge")
    sides = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
    expected = np.any([side != labels for side in sides], axis=0) & (labels > 0)
    np.testing.assert_array_equal(masks.boundaries(jnp.asarray(labels)), expected)


def test_batches_equal_single_frames():
    frames = jnp.stack([jnp.asarray(blobs(seed)) for seed in range(3)])
    ids = jnp.asarray([3, 9, 70_000], jnp.int32)
    split = masks.masks_from_labels(frames, ids)
    np.testing.assert_array_equal(masks.labels_from_masks(split, ids), frames)
    for fn in (
        lambda x: masks.erode_labels(x, 2),
        masks.boundaries,
        lambda x: masks.rank_labels(x, ids),
        lambda x: masks.masks_from_labels(x, ids),
    ):
        np.testing.assert_array_equal(fn(frames), jax.vmap(fn)(frames))
    ranked = masks.rank_labels(frames, ids)
    mapped = jax.vmap(lambda x: masks.segment_statistics(x, 3))(ranked)
    single = [masks.segment_statistics(frame, 3) for frame in ranked]
    jax.tree.map(
        np.testing.assert_array_equal,
        mapped,
        jax.tree.map(lambda *x: jnp.stack(x), *single),
    )


def test_every_step_lowers_for_all_devices():
    labels = jax.ShapeDtypeStruct((16, 24), jnp.int32)
    values = jax.ShapeDtypeStruct((16, 24), jnp.float32)
    valid = jax.ShapeDtypeStruct((16, 24), jnp.bool_)
    ids = jax.ShapeDtypeStruct((4,), jnp.int32)
    centers = jax.ShapeDtypeStruct((4, 2), jnp.float32)
    split = jax.ShapeDtypeStruct((4, 16, 24), jnp.bool_)
    for fn, args in (
        (masks.rank_labels, (labels, ids)),
        (lambda x: masks.segment_statistics(x, 4), (labels,)),
        (lambda v, x, ok: masks.segment_medians(v, x, 4, ok), (values, labels, valid)),
        (lambda x, c: masks.centroid_inside(x, c, 4), (labels, centers)),
        (lambda x: masks.erode_labels(x, 2), (labels,)),
        (masks.masks_from_labels, (labels, ids)),
        (masks.labels_from_masks, (split, ids)),
        (masks.boundaries, (labels,)),
    ):
        export.export(jax.jit(fn), platforms=["cpu", "cuda", "tpu"])(*args)


def test_a_map_where_every_pixel_is_a_segment_of_its_own_is_measured_too():
    """More segments than 16 bits hold: what a noise image read as labels gives."""
    labels = np.arange(1, 300 * 240 + 1, dtype=np.int32).reshape(300, 240)
    ids, ranked = segments.rank_labels(labels)
    medians, count = segments.medians(labels.astype(float), ranked, len(ids))
    np.testing.assert_array_equal(medians, ids)
    assert (count == 1).all() and not segments.erode(labels, 1).any()


def test_a_map_of_floats_is_refused():
    with pytest.raises(Exception, match="labels_ranked"):
        masks.segment_statistics(jnp.ones((3, 4)), 2)
