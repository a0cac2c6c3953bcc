"""The U-Net: sizes, what depends on what, and that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from egojax.models.unet import PUBLISHED, UNet, UNetConfig

SMALL = UNetConfig(num_masks=3, channels=(8, 16, 16), groups=4)


def images(count=2, size_hw=(16, 20), features=3) -> jax.Array:
    return jax.random.normal(jax.random.key(1), (count, *size_hw, features))


@pytest.mark.parametrize("size_hw", [(16, 20), (13, 7), (1, 1), (5, 30)])
@pytest.mark.parametrize("features", [3, 6])
def test_logits_have_the_size_of_the_image(size_hw, features):
    config = dataclasses.replace(SMALL, features=features)
    model = UNet(config, rngs=nnx.Rngs(0))
    found = jax.eval_shape(model, images(2, size_hw, features))
    assert found.shape == (2, 3, *size_hw) and found.dtype == jnp.float32


def test_the_published_sizes():
    """Convolutions of 3 x 3 without biases, a norm each, and the last layer."""
    config = UNetConfig(channels=PUBLISHED)
    model = nnx.eval_shape(lambda: UNet(config, rngs=nnx.Rngs(0)))
    levels = [(3, 64), (64, 128), (128, 256), (256, 512), (512, 512)]
    levels += [(1024, 256), (512, 128), (256, 64), (128, 64)]
    expected = sum(9 * (a * b + b * b) + 4 * b for a, b in levels) + 64 * 4 + 4
    leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == expected


def test_an_image_does_not_depend_on_the_others_in_its_batch():
    model, given = jax.jit(UNet(SMALL, rngs=nnx.Rngs(0))), images()
    both = model(given)
    for n in range(2):
        np.testing.assert_allclose(both[n], model(given[n : n + 1])[0], atol=1e-5)
    twice = model(jnp.concatenate([given, 9 * given]))
    np.testing.assert_allclose(twice[:2], both, atol=1e-5)


def test_a_pixel_is_seen_near_it_and_by_way_of_the_deepest_level_far_from_it():
    model, given = jax.jit(UNet(SMALL, rngs=nnx.Rngs(0))), images(1, (32, 32))
    moved = np.abs(model(given.at[0, 4, 4].add(3.0)) - model(given)).max((0, 1))
    assert moved[4, 4] > 0.1 and moved[10, 10] > 1e-3
    assert moved[:8, :8].mean() > 5 * moved[24:, 24:].mean()


def test_padding_below_is_cut_off_again():
    """An image that repeats its last row and column is the same as a shorter one."""
    model, short = jax.jit(UNet(SMALL, rngs=nnx.Rngs(0))), images(1, (14, 19))
    long = jnp.pad(short, ((0, 0), (0, 2), (0, 1), (0, 0)), mode="edge")
    np.testing.assert_allclose(model(short), model(long)[:, :, :14, :19], atol=1e-6)


def test_half_precision_is_near():
    given = images()
    exact = jax.jit(UNet(SMALL, rngs=nnx.Rngs(0)))(given)
    config = dataclasses.replace(SMALL, dtype="bfloat16")
    found = jax.jit(UNet(config, rngs=nnx.Rngs(0)))(given)
    assert found.dtype == jnp.float32
    assert 0 < np.abs(found - exact).mean() < 0.05 * np.abs(exact).mean()


def test_it_learns_where_a_disc_is_from_scratch():
    """In noise, in another place in each image; the last two are not learned from."""
    i, j = np.mgrid[:24, :32]
    rng = np.random.default_rng(0)
    places = rng.uniform(6, 18, (10, 2)) + np.array([0, 4])
    discs = [(i - y) ** 2 + (j - x) ** 2 < 25 for y, x in places]
    truth = np.stack(discs).astype(np.int32)
    given = rng.normal(size=(10, 24, 32, 3)) * 0.5
    given[..., 0] += truth
    given = jnp.asarray(given, jnp.float32)
    config = dataclasses.replace(SMALL, num_masks=2)
    graphdef, params = nnx.split(UNet(config, rngs=nnx.Rngs(0)), nnx.Param)
    tx = optax.adam(1e-2)

    def loss(params):
        logits = jnp.moveaxis(nnx.merge(graphdef, params)(given[:8]), 1, -1)
        return optax.softmax_cross_entropy_with_integer_labels(logits, truth[:8]).mean()

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for _ in range(40):
        params, state = step(params, state)
    found = jax.jit(nnx.merge(graphdef, params))(given[8:]).argmax(1)
    shared = ((found == 1) & (truth[8:] == 1)).sum()
    union = ((found == 1) | (truth[8:] == 1)).sum()
    assert shared / union > 0.7  # 0.88; of all pixels it were 0.1.


@pytest.mark.parametrize("channels", [(), (8, 10)])
def test_channels_that_do_not_divide_are_refused(channels):
    with pytest.raises(ValueError, match="expected multiples of groups=4"):
        dataclasses.replace(SMALL, channels=channels)
