"""Encodings against the published values and their definitions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from egojax.ops import encoding


def test_frequencies_are_the_published_ones():
    found = encoding.frequency_encoding(jnp.array([0.1, -0.2, 0.3]), 2)
    expected = [
        *(0.1, -0.2, 0.3, 0.09983342, -0.19866933, 0.29552022),
        *(0.9950042, 0.9800666, 0.9553365, 0.19866933, -0.38941836),
        *(0.5646425, 0.9800666, 0.921061, 0.8253356),
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (4, 1), (2, 5, 3)])
@pytest.mark.parametrize("num_bands", [0, 1, 10])
def test_frequencies_are_those_of_the_definition(shape, num_bands):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = np.asarray(encoding.frequency_encoding(x, num_bands))
    blocks = [np.float64(x)]
    for band in range(num_bands):
        blocks += [np.sin(2.0**band * np.float64(x)), np.cos(2.0**band * np.float64(x))]
    expected = np.concatenate(blocks, -1)
    assert found.shape == (*shape[:-1], shape[-1] * (1 + 2 * num_bands))
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_the_basis_of_time_is_the_published_one():
    found = encoding.time_basis(jnp.arange(5), 5, 5)
    expected = [
        [-1, -0.84147096, 0.54030234, -0.9092974, -0.41614684],
        [-0.5, -0.47942555, 0.87758255, -0.84147096, 0.54030234],
        [0, 0, 1, 0, 1],
        [0.5, 0.47942555, 0.87758255, 0.84147096, 0.54030234],
        [1, 0.84147096, 0.54030234, 0.9092974, -0.41614684],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    table = np.array([[1, 0], [0, 1], [1, 1], [-1, 2], [0.5, -0.5]], np.float32)
    codes = [[0.24152632, -1.91169], [1.4892046, -1.554936], [0.42293143, 3.4084413]]
    np.testing.assert_allclose((found @ table)[np.array([0, 1, 4])], codes, atol=2e-6)


def test_the_basis_of_a_thousand_slots_is_the_published_one():
    first, last = encoding.time_basis(jnp.array([500, 999]), 1000, 21)
    assert first.shape == (21,)
    np.testing.assert_allclose(
        first[:5], [0.001001, 0.001001, 0.9999995, 0.002002, 0.999998], atol=1e-6
    )
    np.testing.assert_allclose(last[-2:], [0.0795185, -0.9968334], atol=2e-5)


def test_the_code_without_weights_is_the_published_one():
    found = encoding.wave_code(jnp.array(25), 100)
    assert found.shape == (17,)
    expected = [-0.5, -0.47942555, 0.87758255, -0.84147096, 0.54030234]
    np.testing.assert_allclose(found[:5], expected, atol=1e-6)


def test_contraction_keeps_the_ball_and_takes_infinity_to_radius_two():
    center, radius = jnp.array([1.0, -2.0, 0.5]), 3.0
    rng = np.random.default_rng(0)
    way = rng.normal(size=(50, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    for length in (0.0, 0.3, 1.0, 1.5, 40.0, 1e6):
        points = np.asarray(center) + radius * length * way
        found = np.asarray(encoding.contract(points.astype(np.float32), center, radius))
        expected = way * (length if length <= 1 else 2 - 1 / length)
        np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("length", [0.0, 1e-20, 1.0, 1e15])
def test_contraction_has_finite_gradients_everywhere(length):
    center = jnp.zeros(3)
    slope = jax.jacobian(lambda p: encoding.contract(p, center, 1.0))
    chex.assert_tree_all_finite(slope(jnp.array([length, 0.0, 0.0])))


def test_encodings_lower_for_every_device():
    def everything(x, slots):
        return (
            encoding.frequency_encoding(x, 10),
            encoding.time_basis(slots, 100, 21),
            encoding.contract(x, x[0], 2.0),
        )

    args = jnp.zeros((4, 3)), jnp.zeros(4, jnp.int32)
    out = export.export(jax.jit(everything), platforms=("cpu", "cuda", "tpu"))(*args)
    assert out.platforms == ("cpu", "cuda", "tpu")


def test_waves_of_a_grid_have_the_official_numbers():
    """DETR's encoding (spec 10.9 of LRTL)."""
    found = encoding.sine_grid((2, 3), 4)
    assert found.dtype == np.float32 and found.shape == (2, 3, 8)
    expected = [0.0000013, -1, 0.0314107, 0.9995065]
    expected += [0.8660257, -0.4999994, 0.0209424, 0.9997807]
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-6)
    found = encoding.sine_grid((47, 87), 128)[10, 20]
    expected = [0.9949778, 0.1000957, 0.9561112, 0.2930042]
    expected += [1.0, 0.9985334, 0.0541388, 1.0]
    at = [0, 1, 2, 3, 127, 128, 129, 255]
    np.testing.assert_allclose(found[at], expected, atol=1e-6)
