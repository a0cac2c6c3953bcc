"""The guided filter: its definition square by square, what it keeps, misuse."""

import numpy as np
import pytest

from egojax.ops.guided import guided_filter


def by_definition(image, value, radius, epsilon):
    """Eq. 14-16 with one least-squares fit a square, in float64."""
    height, width = value.shape
    pad = [(radius, radius)] * 2

    def square(plane, y, x):
        plane = np.pad(plane, pad + [(0, 0)] * (plane.ndim - 2), "symmetric")
        return plane[y : y + 2 * radius + 1, x : x + 2 * radius + 1]

    slopes, offsets = np.zeros((height, width, 3)), np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        colors, values = square(image, y, x).reshape(-1, 3), square(value, y, x).ravel()
        centred = colors - colors.mean(0)
        joint = centred.T @ (values - values.mean()) / len(values)
        spread = centred.T @ centred / len(values) + epsilon * np.eye(3)
        slopes[y, x] = np.linalg.solve(spread, joint)
        offsets[y, x] = values.mean() - slopes[y, x] @ colors.mean(0)
    out = np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        slope = square(slopes, y, x).mean((0, 1))
        out[y, x] = slope @ image[y, x] + square(offsets, y, x).mean()
    return out


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_it_is_the_definition(radius):
    rng = np.random.default_rng(radius)
    image, values = rng.random((11, 14, 3)), rng.random((2, 11, 14))
    found = guided_filter(image, values, radius, 0.02)
    for one, value in zip(found, values, strict=True):
        np.testing.assert_allclose(
            one, by_definition(image, value, radius, 0.02), atol=2e-5
        )


def test_constants_stay_and_the_filter_is_linear():
    rng = np.random.default_rng(3)
    image, a, b = rng.random((20, 20, 3)), *rng.random((2, 20, 20))
    flat, one, other, both = guided_filter(
        image, np.stack([np.full_like(a, 0.3), a, b, 2 * a - b])
    )
    np.testing.assert_allclose(flat, 0.3, atol=1e-5)
    np.testing.assert_allclose(both, 2 * one - other, atol=1e-4)


def test_a_coarse_mask_moves_to_the_edge_of_the_image():
    image = np.full((30, 30, 3), 0.2)
    image[:, 13:] = [0.8, 0.5, 0.3]
    coarse = np.zeros((1, 30, 30))
    coarse[:, :, 14:] = 1
    found = guided_filter(image, coarse, 4, 1e-5)[0] > 0.5
    np.testing.assert_array_equal(found, image[..., 0] > 0.5)


def test_no_values_give_none():
    assert guided_filter(np.ones((4, 5, 3)), np.ones((0, 4, 5))).shape == (0, 4, 5)


@pytest.mark.parametrize(
    ("shape", "values", "kwargs"),
    [
        ((4, 5, 1), (1, 4, 5), {}),
        ((4, 5, 3), (1, 5, 4), {}),
        ((4, 5, 3), (1, 4, 5), {"radius": -1}),
        ((4, 5, 3), (1, 4, 5), {"epsilon": 0.0}),
        ((4, 5, 3), (1, 4, 5), {"epsilon": np.nan}),
    ],
)
def test_misuse_is_told(shape, values, kwargs):
    with pytest.raises(ValueError, match=r"guide|expected"):
        guided_filter(np.ones(shape), np.ones(values), **kwargs)
