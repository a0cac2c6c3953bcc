"""The fast fields: shapes, what depends on what, gradients everywhere."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from egojax.models.grid_fields import GridConfig, GridFields
from egojax.ops.hash_grid import HashGrid
from egojax.ops.plane_grid import PlaneGrid

SMALL = GridConfig(
    static=HashGrid(4, 4, 32, 10),
    moving=HashGrid(3, 4, 16, 9),
    proposal=HashGrid(2, 4, 8, 9),
    actor=HashGrid(3, 2, 8, 9),
    actor_cells=8,
    actor_times=5,
    width=16,
    num_slots=20,
)


PLANES = dataclasses.replace(
    SMALL,
    static=PlaneGrid(4, 2, 4, 8),
    moving=PlaneGrid(2, 2, 4, 8),
    proposal=PlaneGrid(2, 1, 4, 4),
    actor=PlaneGrid(1, 2, 4, 8, 2, along_z=5 / 8),
)


def ask(model, slots, looks, camera_shift=0.0, turn=0.0):
    rng = np.random.default_rng(0)
    points = jnp.asarray(rng.random((2, 6, 3)), jnp.float32)
    dirs = jnp.array([[0.0, 0.0, 1.0], [0.6, 0.0, 0.8]])
    camera_points = 2 * points - 1 + camera_shift
    camera_dirs = jnp.array([[turn, 0.0, -1.0], [0.0, 0.6, -0.8]])
    codes = jnp.asarray(slots), jnp.asarray(looks)
    return model.samples(points, camera_points, camera_dirs, dirs, *codes)


def same(first, second) -> list[bool]:
    """Stream by stream."""
    return [bool((a == b).all()) for a, b in zip(first, second, strict=True)]


@pytest.mark.parametrize("config", [SMALL, PLANES], ids=["hash", "planes"])
def test_each_stream_depends_on_its_own_inputs_alone(config):
    model = GridFields(config, rngs=nnx.Rngs(0))
    model.appearance[...] = jax.random.normal(jax.random.key(0), (20, 8))
    base = ask(model, [3, 4], [3, 4])
    assert base.density.shape == (3, 2, 6) and base.beta.shape == (2, 2, 6)
    assert base.rgb.shape == (3, 2, 6, 3)
    later = ask(model, [9, 9], [3, 4])
    assert same(base.density, later.density) == [True, False, False]
    looks = ask(model, [3, 4], [9, 9])
    assert same(base.rgb, looks.rgb) == [False, True, True]
    np.testing.assert_array_equal(looks.density, base.density)
    moved = ask(model, [3, 4], [3, 4], camera_shift=0.3)
    assert same(base.density, moved.density) == [True, True, False]
    turned = ask(model, [3, 4], [3, 4], turn=0.3)
    assert same(base.density, turned.density) == [True, True, False]


@pytest.mark.parametrize(
    ("config", "order", "smooth", "bent"),
    [(SMALL, 2, 10, 8), (PLANES, 3, 5, 12)],
    ids=["hash", "planes"],
)
def test_what_is_in_the_way_is_smooth_over_time_and_directions(
    config, order, smooth, bent
):
    """By hand: 5 cells of time have 4 nodes within, each bends 2 of 18 differences.

    Between nodes two planes make a square of time: 3 of its 17 third differences.
    """
    model = GridFields(config, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(1)
    table = rng.normal(size=model.actor_table.shape).astype(np.float32)
    model.actor_table[...] = jnp.asarray(table)
    ahead = jnp.tile(jnp.array([[0.0, 0.0, -1.0]]), (20, 1))
    codes = np.asarray(model.actor_code(ahead, jnp.arange(20)))
    bends = np.abs(np.diff(codes[:, -2:], order, axis=0)).max(1)
    assert (bends < 1e-5).sum() == smooth and (bends > 1e-3).sum() == bent
    aside = jnp.stack([jnp.linspace(-0.9, 0.9, 20), 0 * ahead[:, 0], ahead[:, 2]], -1)
    codes = np.asarray(model.actor_code(aside, jnp.zeros(20, jnp.int32)))
    assert np.ptp(codes, axis=0).min() > 0.1


def test_the_moving_stream_has_features_of_its_time():
    """With a gate that closes at a time, positions say nothing at it."""
    model = GridFields(SMALL, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(1)
    table = rng.normal(size=model.moving_table.shape).astype(np.float32)
    model.moving_table[...] = jnp.asarray(table)
    open_ = ask(model, [3, 3], [0, 0]).density[1]
    assert np.ptp(open_[0]) > 1e-3
    model.gate.kernel[...] = jnp.zeros_like(model.gate.kernel[...])
    model.gate.bias[...] = -jnp.ones_like(model.gate.bias[...])
    shut = ask(model, [3, 3], [0, 0]).density[1]
    assert np.ptp(shut[0]) < 1e-6


def test_fresh_streams_are_thin():
    model = GridFields(SMALL, rngs=nnx.Rngs(0))
    out = ask(model, [3, 4], [3, 4])
    assert (out.density > 0).all() and (out.density < 1.5).all()
    assert ((out.rgb > 0.1) & (out.rgb < 0.9)).all()
    points = jnp.full((2, 3, 3), 0.4)
    proposed = model.proposal_density(points)
    assert proposed.shape == (2, 3) and (proposed > 0).all()
