"""Resizing and look-up against OpenCV, torch's rule and the definition."""

import chex
import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from egojax.ops import image

SIZES = [((5, 7), (5, 7)), ((6, 8), (3, 4)), ((5, 7), (11, 3)), ((1, 4), (2, 9))]


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_bilinear_resize_equals_opencv(old, new):
    pixels = np.random.default_rng(0).random((*old, 3)).astype(np.float32)
    found = image.resize_bilinear(jnp.asarray(pixels), new)
    expected = cv2.resize(pixels, new[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_nearest_resize_takes_the_pixel_under_each_centre(old, new):
    pixels = np.arange(old[0] * old[1], dtype=np.int32).reshape(*old, 1)
    found = image.resize_nearest(jnp.asarray(pixels), new)
    for i in range(new[0]):
        for j in range(new[1]):
            y = int(np.floor((i + 0.5) * old[0] / new[0]))
            x = int(np.floor((j + 0.5) * old[1] / new[1]))
            assert int(found[i, j, 0]) == pixels[y, x, 0]


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_bicubic_resize_equals_opencv(old, new):
    pixels = np.random.default_rng(0).random((*old, 3)).astype(np.float32)
    found = image.resize_bicubic(jnp.asarray(pixels), new)
    expected = cv2.resize(pixels, new[::-1], interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    both = image.resize_bicubic(jnp.stack([pixels, -pixels]), new)
    np.testing.assert_allclose(both, np.stack([found, -found]), atol=1e-6)


def test_bicubic_resize_by_a_scale_has_the_official_numbers():
    """LRTL's positions of 28 x 28 patches at 47.1 x 87.1 (spec 10.9)."""
    i, j = np.meshgrid(np.arange(28), np.arange(28), indexing="ij")
    table = np.stack([i + 0.1 * j, np.sin(0.3 * i) * np.cos(0.2 * j)], -1)
    scale = 47.1 / 28, 87.1 / 28
    given = jnp.asarray(table, jnp.float32)
    found = np.asarray(image.resize_bicubic(given, (47, 87), scale))
    column = [-0.1077629, 0.2977079, 0.9683330, 13.466569, 26.627546, 27.067774]
    np.testing.assert_allclose(found[[0, 1, 2, 23, 45, 46], 0, 0], column, rtol=1e-6)
    row = [-0.1077629, -0.0979420, -0.0731788, 1.2521392, 2.6022690, 2.6144035]
    np.testing.assert_allclose(found[0, [0, 1, 2, 43, 85, 86], 0], row, rtol=1e-6)
    waves = found[[0, 10, 23, 46], [0, 20, 43, 86], 1]
    expected = [-0.0286266, 0.337229, 0.7137672, 0.6319289]
    np.testing.assert_allclose(waves, expected, atol=1e-6)


def test_a_ramp_keeps_its_coordinates():
    """Half-pixel centres: the value of a ramp is the coordinate, at any size."""
    ramp = jnp.arange(8.0)[None, :, None] + 0.5
    found = image.resize_bilinear(jnp.broadcast_to(ramp, (3, 8, 1)), (3, 16))
    inner = (jnp.arange(16) + 0.5) / 2
    np.testing.assert_allclose(found[0, 1:-1, 0], inner[1:-1], atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_lookup_equals_the_definition(seed):
    rng = np.random.default_rng(seed)
    pixels = rng.random((6, 9, 2)).astype(np.float32)
    points = rng.uniform(-2, 11, (40, 2)).astype(np.float32)
    found = image.lookup_bilinear(jnp.asarray(pixels), jnp.asarray(points))
    nearest = image.lookup_nearest(jnp.asarray(pixels), jnp.asarray(points))
    for row, (x, y) in enumerate(points):
        u, v = np.clip(x - 0.5, 0, 8), np.clip(y - 0.5, 0, 5)
        total = sum(
            pixels[j, i] * max(0, 1 - abs(u - i)) * max(0, 1 - abs(v - j))
            for i in range(9)
            for j in range(6)
        )
        np.testing.assert_allclose(found[row], total, atol=1e-5)
        i, j = int(np.clip(np.floor(x), 0, 8)), int(np.clip(np.floor(y), 0, 5))
        np.testing.assert_array_equal(nearest[row], pixels[j, i])


def test_an_infinite_neighbour_of_no_weight_does_not_count():
    depth = jnp.asarray([[1.0, jnp.inf], [2.0, jnp.inf]])[..., None]
    centre = jnp.asarray([[0.5, 0.5], [0.5, 1.0]])
    np.testing.assert_allclose(image.lookup_bilinear(depth, centre)[:, 0], [1.0, 1.5])
    between = image.lookup_bilinear(depth, jnp.asarray([[1.0, 0.5]]))
    assert np.isinf(between).all()


def test_lookup_gradients_are_finite_and_right():
    """On a plane the gradient in the point is the slope, away from the border."""
    x, y = jnp.meshgrid(jnp.arange(6.0), jnp.arange(5.0))
    plane = (2 * x - 3 * y)[..., None]
    points = jnp.asarray([[2.2, 3.1], [0.1, 9.0]])
    total = lambda xy: image.lookup_bilinear(plane, xy).sum()  # noqa: E731
    slope = jax.grad(total)(points)
    chex.assert_tree_all_finite(slope)
    np.testing.assert_allclose(slope[0], [2.0, -3.0], atol=1e-5)


@pytest.mark.parametrize("size_hw", [(4, 8), (5, 7), (1, 1)])
def test_padding_repeats_the_border_and_keeps_the_content(size_hw):
    pixels = jnp.arange(size_hw[0] * size_hw[1]).reshape(1, *size_hw, 1)
    found = image.pad_to_multiple(pixels, 4)
    assert found.shape[1] % 4 == found.shape[2] % 4 == 0
    np.testing.assert_array_equal(found[:, : size_hw[0], : size_hw[1]], pixels)
    assert int(found[0, -1, -1, 0]) == int(pixels[0, -1, -1, 0])


def test_batches_equal_single_images():
    batch = jnp.asarray(np.random.default_rng(1).random((3, 4, 5, 2)), jnp.float32)
    for fn in (
        lambda x: image.resize_bilinear(x, (7, 3)),
        lambda x: image.resize_nearest(x, (7, 3)),
        lambda x: image.pad_to_multiple(x, 4),
    ):
        np.testing.assert_allclose(fn(batch), jax.vmap(fn)(batch), atol=1e-6)


def test_every_step_lowers_for_all_devices():
    pixels = jax.ShapeDtypeStruct((6, 9, 2), jnp.float32)
    points = jax.ShapeDtypeStruct((5, 2), jnp.float32)
    for fn, args in (
        (lambda x: image.resize_bilinear(x, (7, 3)), (pixels,)),
        (lambda x: image.resize_nearest(x, (7, 3)), (pixels,)),
        (lambda x: image.pad_to_multiple(x, 4), (pixels,)),
        (image.lookup_bilinear, (pixels, points)),
        (image.lookup_nearest, (pixels, points)),
    ):
        export.export(jax.jit(fn), platforms=["cpu", "cuda", "tpu"])(*args)


def test_an_image_without_channels_is_refused():
    with pytest.raises(Exception, match="image"):
        image.lookup_bilinear(jnp.ones((4, 5)), jnp.ones((1, 2)))
