"""The published networks, with weights by formula, against the published outputs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from egojax.models import nerf
from egojax.models.nerf import Nerf, NerfConfig
from tests.nerf_by_formula import SMALL, by_formula, unit


@pytest.fixture(scope="module")
def model() -> Nerf:
    return by_formula()


def test_networks_give_the_published_outputs(model):
    points = jnp.array([[[0.3, -0.2, -1.1]], [[-0.7, 0.4, -2.0]]])
    at_camera = jnp.array([[[0.1, 0.05, -1.2]], [[-0.2, 0.1, -1.9]]])
    dirs = unit((0.1, 0.2, -1), (-0.3, 0.1, -1))
    slots = jnp.array([3, 7])
    density, rgb = model.coarse_samples(points, dirs)
    expected = [
        [0.45302677, 0.53171355, 0.54634047, 0.8112653],
        [0.44663855, 0.54411364, 0.53000206, 0.8299923],
    ]
    found = np.concatenate([rgb[:, 0], density], 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(model.coarse_density(points), density)
    out = model.samples(points, at_camera, dirs, slots, slots)
    parts = [np.concatenate([out.rgb[q, :, 0], out.density[q]], 1) for q in range(3)]
    found = np.concatenate([parts[0], parts[1], out.beta[0], parts[2], out.beta[1]], 1)
    expected = [
        [
            *(0.4592084, 0.5217834, 0.5439409, 0.80988103),
            *(0.48069453, 0.5167413, 0.4535724, 0.7620626, 0.69265753),
            *(0.49853796, 0.5237655, 0.47607487, 0.70827174, 0.68319654),
        ],
        [
            *(0.4575849, 0.5170378, 0.5541977, 0.8228641),
            *(0.4777098, 0.5075443, 0.4733418, 0.7348173, 0.7293963),
            *(0.498428, 0.5188093, 0.4852827, 0.6952115, 0.6964787),
        ],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    code = model.time_code(slots)[0, :4]
    expected = [-1.5147288, -1.1315935, 0.10790902, 1.265748]
    np.testing.assert_allclose(code, expected, atol=1e-5)


def test_sizes_are_the_published_ones_without_their_padding():
    model = nnx.eval_shape(lambda: Nerf(NerfConfig(), rngs=nnx.Rngs(0)))

    def size(*modules) -> int:
        leaves = jax.tree.leaves([nnx.state(m, nnx.Param) for m in modules])
        return sum(leaf.size for leaf in leaves)

    assert size(model.coarse) == 595_844
    assert size(model.fine, model.moving, model.actor) == 772_494 - 193 * 128
    assert model.time.size == 357 and model.appearance.size == 48_000


def test_fresh_weights_are_uniform_within_the_root_of_the_inputs():
    model = Nerf(NerfConfig(), rngs=nnx.Rngs(0))
    kernel = np.asarray(model.fine.trunk[nerf.SKIP].kernel[...])
    bound = 319**-0.5
    assert kernel.shape == (319, 256) and np.abs(kernel).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.02)
    assert 0.58 < np.abs(model.time[...]).max() <= 0.594089
    np.testing.assert_allclose(model.appearance[...].std(), 1.0, rtol=0.02)


@pytest.mark.parametrize(
    ("kind", "streams", "code"),
    [("nerf", 1, None), ("nerfw", 2, 17), ("tnerf", 2, 17), ("neuraldiff", 3, 17)],
)
def test_baselines_have_the_streams_and_codes_of_their_kind(kind, streams, code):
    config = NerfConfig(kind=kind, width=16, num_slots=10)
    model = Nerf(config, rngs=nnx.Rngs(0))
    points, dirs = jnp.zeros((2, 5, 3)), unit((0, 0, 1), (0, 1, 0))
    slots = jnp.array([0, 9])
    out = model.samples(points, points, dirs, slots, slots)
    assert out.density.shape == (streams, 2, 5)
    assert out.rgb.shape == (streams, 2, 5, 3)
    assert out.beta.shape == (streams - 1, 2, 5)
    if code:
        assert model.time_code(slots).shape == (2, code)
    if kind == "nerf":
        other = model.samples(points, points, dirs, slots[::-1], slots[::-1])
        np.testing.assert_array_equal(other.rgb, out.rgb)


def test_products_in_half_precision_stay_near_those_in_full():
    half = by_formula(dataclasses.replace(SMALL, dtype="bfloat16"))
    points, dirs = jnp.full((2, 5, 3), 0.3), unit((0, 0, 1), (0, 1, 0))
    slots = jnp.array([0, 9])
    full = by_formula().samples(points, points, dirs, slots, slots)
    out = half.samples(points, points, dirs, slots, slots)
    assert out.rgb.dtype == out.density.dtype == jnp.float32
    np.testing.assert_allclose(out.rgb, full.rgb, atol=0.02)
