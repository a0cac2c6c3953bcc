"""Labels and masks are two views of the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from egojax.ops import masks

IDS = (3, 9, 70_000)


def blobs(seed: int, size_hw=(23, 31)) -> np.ndarray:
    """A label map of overlapping rectangles."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(size_hw, np.int32)
    for number in IDS:
        y, x = rng.integers(0, size_hw[0] - 6), rng.integers(0, size_hw[1] - 8)
        labels[y : y + rng.integers(2, 12), x : x + rng.integers(2, 14)] = number
    return labels


def test_labels_and_masks_are_two_views_of_the_same():
    labels = blobs(2)
    ids = jnp.asarray([*IDS, 0], jnp.int32)
    split = masks.masks_from_labels(jnp.asarray(labels), ids)
    for number, mask in zip(IDS, split[:3], strict=True):
        np.testing.assert_array_equal(mask, labels == number)
    assert not split[3].any()
    np.testing.assert_array_equal(masks.labels_from_masks(split, ids), labels)


def test_the_last_mask_is_painted_on_top():
    both = jnp.ones((2, 1, 1), bool)
    assert masks.labels_from_masks(both, jnp.asarray([7, 4])).tolist() == [[4]]
    none = masks.labels_from_masks(jnp.zeros((0, 2, 3), bool), jnp.zeros(0, jnp.int32))
    assert none.tolist() == [[0] * 3] * 2


def test_batches_equal_single_frames():
    frames = jnp.stack([jnp.asarray(blobs(seed)) for seed in range(3)])
    ids = jnp.asarray(IDS, jnp.int32)
    split = masks.masks_from_labels(frames, ids)
    mapped = jax.vmap(lambda x: masks.masks_from_labels(x, ids))(frames)
    np.testing.assert_array_equal(split, mapped)
    np.testing.assert_array_equal(masks.labels_from_masks(split, ids), frames)


def test_every_step_lowers_for_all_devices():
    labels = jax.ShapeDtypeStruct((16, 24), jnp.int32)
    ids = jax.ShapeDtypeStruct((4,), jnp.int32)
    split = jax.ShapeDtypeStruct((4, 16, 24), jnp.bool_)
    for fn, args in (
        (masks.masks_from_labels, (labels, ids)),
        (masks.labels_from_masks, (split, ids)),
    ):
        export.export(fn, platforms=["cpu", "cuda", "tpu"])(*args)


def test_masks_of_floats_are_refused():
    with pytest.raises(Exception, match="masks"):
        masks.labels_from_masks(jnp.ones((2, 3, 4)), jnp.asarray([1, 2]))
