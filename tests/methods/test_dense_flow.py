"""Flow without weights: known motions, its inputs, and where not to trust it."""

import cv2
import numpy as np
import pytest

from egojax.methods import dense_flow


def _texture(seed: int, size_hw=(96, 128)) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (*size_hw, 3))
    return cv2.GaussianBlur(noise, (0, 0), 2).clip(0, 255).astype(np.uint8)


def _stretched(image: np.ndarray) -> np.ndarray:
    low, high = image.min(), image.max()
    return ((image - low) * (255.0 / (high - low))).astype(np.uint8)


@pytest.mark.parametrize("shift", [(3, 0), (-2, 4), (0, 0)])
def test_a_shifted_image_gives_the_shift(shift):
    image = _stretched(_texture(0, (160, 200)))
    moved = np.roll(image, shift[::-1], (0, 1))
    flow = dense_flow.inverse_search(image, moved)[20:-20, 20:-20]
    assert flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow, (0, 1)), shift, atol=0.05)
    assert np.linalg.norm(flow - shift, axis=-1).mean() < 0.1


def test_the_images_are_left_as_they_are():
    image, later = _texture(0), _texture(1)
    copies = image.copy(), later.copy()
    dense_flow.inverse_search(image, later)
    np.testing.assert_array_equal(image, copies[0])
    np.testing.assert_array_equal(later, copies[1])


def test_images_of_two_sizes_or_tiny_ones_are_refused():
    with pytest.raises(ValueError, match=r"\(96, 128, 3\) and \(64, 64, 3\)"):
        dense_flow.inverse_search(_texture(0), _texture(0, (64, 64)))
    with pytest.raises(ValueError, match="expected 16 pixels"):
        dense_flow.inverse_search(_texture(0, (8, 64)), _texture(1, (8, 64)))


def test_a_step_of_the_flow_is_a_boundary_and_a_slope_is_none():
    flow = np.zeros((40, 60, 2), np.float32)
    flow[:, 30:, 0] = 4
    found = dense_flow.motion_boundary(flow)
    assert found[:, 29:31].all() and not found[:, :27].any() and not found[:, 33:].any()
    ramp = np.zeros((40, 60, 2), np.float32)
    ramp[..., 0] = 0.05 * np.arange(60)
    assert not dense_flow.motion_boundary(ramp).any()


def test_lookup_interpolates_between_centres():
    """(0.5, 0.5) is the first pixel's centre; halfway to the next is the mean."""
    field = np.arange(12, dtype=np.float32).reshape(3, 4, 1)
    points = np.array([[0.5, 0.5], [1.0, 0.5], [2.5, 1.5], [-9, -9]], np.float32)
    found = dense_flow.lookup(field, points)
    np.testing.assert_allclose(found[:, 0], [0, 0.5, 6, 0], atol=1e-6)
    assert dense_flow.lookup(field, points[:0]).shape == (0, 1)


def test_any_number_of_points_is_looked_up():
    """OpenCV alone stops at 32,766 rows, fewer than a large frame has tracks."""
    field = np.random.default_rng(0).normal(size=(20, 30, 2)).astype(np.float32)
    cell = np.arange(40_000) % 600
    points = np.stack([cell % 30, cell // 30], -1) + np.float32(0.5)
    np.testing.assert_array_equal(
        dense_flow.lookup(field, points), field.reshape(-1, 2)[cell]
    )


def test_a_point_is_under_the_pixel_that_it_is_in_and_borders_repeat():
    image = np.arange(6).reshape(2, 3)
    points = np.array([[0.0, 0.0], [1.99, 1.0], [-4, 9], [7, 0.5]])
    np.testing.assert_array_equal(dense_flow.under(image, points), [0, 4, 3, 2])
