"""The fast renderer: what it samples, what learns, and a scene that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import export, lax

from egojax.methods import grid_rendering
from egojax.methods.field_rays import FieldRays
from egojax.methods.grid_rendering import GridSettings, SceneBox
from egojax.models.grid_fields import GridConfig, GridFields
from egojax.ops import field_losses
from egojax.ops.hash_grid import HashGrid

SMALL = GridConfig(
    static=HashGrid(4, 4, 32, 12),
    moving=HashGrid(3, 4, 16, 10),
    proposal=HashGrid(3, 4, 16, 10),
    width=16,
    num_slots=8,
    time_basis=5,
)
SETTINGS = GridSettings(num_proposal=16, num_final=12)
BOX = SceneBox(jnp.zeros(3), jnp.float32(2.0), jnp.float32(1.0))


def rays_of(count: int, seed: int = 0) -> FieldRays:
    """From near the origin, all around."""
    rng = np.random.default_rng(seed)
    dirs = rng.normal(size=(count, 3))
    dirs /= np.linalg.norm(dirs, axis=1, keepdims=True)
    slots = jnp.asarray(rng.integers(0, 8, count), jnp.int32)
    return FieldRays(
        ray_origins=jnp.asarray(0.1 * rng.normal(size=(count, 3)), jnp.float32),
        ray_dirs=jnp.asarray(dirs, jnp.float32),
        camera_dirs=jnp.asarray(dirs, jnp.float32),
        near=jnp.full(count, 0.05),
        far=jnp.full(count, 6.0),
        slots=slots,
        looks=slots,
    )


@pytest.fixture(scope="module")
def model() -> GridFields:
    return GridFields(SMALL, rngs=nnx.Rngs(0))


def test_positions_run_from_near_to_far_and_are_dense_near_the_camera():
    rays = rays_of(5)
    shares = jnp.linspace(0.0, 1.0, 65)[None].repeat(5, 0)
    t = np.asarray(grid_rendering._distance(rays, shares, SETTINGS))
    np.testing.assert_allclose(t[:, 0], 0.05, rtol=1e-4)
    np.testing.assert_allclose(t[:, -1], 6.0, rtol=1e-4)
    assert (np.diff(t, 2) > -1e-5).all()
    assert (t < 1.0).mean() > 0.45  # Evenly spaced, it would be a sixth.


def test_final_edges_gather_where_the_proposal_has_weight_and_go_everywhere():
    edges = jnp.linspace(0.0, 1.0, 17)[None]
    weights = jnp.zeros((1, 16)).at[0, 8].set(1.0)
    found = np.asarray(grid_rendering._final_edges(edges, weights, SETTINGS, None))
    assert found.shape == (1, 13) and (np.diff(found) >= 0).all()
    assert found[0, 0] == 0 and found[0, -1] == pytest.approx(1)
    inside = (found >= 8 / 16 - 1e-5) & (found <= 9 / 16 + 1e-5)
    assert 7 <= inside.sum() <= 11
    bare = dataclasses.replace(SETTINGS, floor=0.0)
    found = np.asarray(grid_rendering._final_edges(edges, weights, bare, None))
    assert ((found[0, 1:-1] >= 0.5 - 1e-3) & (found[0, 1:-1] <= 9 / 16 + 1e-3)).all()


def test_rays_of_training_are_opaque_and_masks_sum_to_one(model):
    rays = rays_of(20)
    draws = grid_rendering.draw(jax.random.key(0), 20, SETTINGS)
    out = grid_rendering.render_training(model, rays, BOX, SETTINGS, draws)
    np.testing.assert_allclose(out.composite.masks.sum(0), 1.0, atol=1e-4)
    assert out.changing_density.shape == (2, 20, 12)
    shown = grid_rendering.render_rays(model, rays, BOX, SETTINGS)
    assert (shown.composite.masks.sum(0) <= 1 + 1e-4).all()
    without = grid_rendering.render_rays(
        model, rays, BOX, SETTINGS, suppress_actor=True
    )
    assert (without.composite.masks[2] == 0).all()
    assert (without.composite.masks[0] >= shown.composite.masks[0]).all()


def loss_of(graphdef, rays, target, settings, key):
    def loss(params):
        draws = grid_rendering.draw(key, len(target), settings)
        out = grid_rendering.render_training(
            nnx.merge(graphdef, params), rays, BOX, settings, draws
        )
        terms = field_losses.stream_loss(
            out.fine, out.uncertainty, out.changing_density, target
        )
        return terms.total + out.interlevel.sum(-1).mean()

    return loss


def test_every_weight_learns(model):
    graphdef, params = nnx.split(model, nnx.Param)
    rays, target = rays_of(64), jnp.full((64, 3), 0.3)
    loss = loss_of(graphdef, rays, target, SETTINGS, jax.random.key(0))
    slopes = jax.jit(jax.grad(loss))(params)
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        assert np.isfinite(slope).all() and (slope != 0).any(), path


def test_a_room_with_two_colored_halves_is_learned(model):
    """Walls all around: red where x > 0, blue elsewhere; seen along other rays."""
    graphdef, params = nnx.split(model, nnx.Param)
    tx = optax.adam(1e-2)

    def colors(rays):
        is_red = (rays.ray_dirs[:, :1] > 0).astype(jnp.float32)
        return jnp.concatenate([is_red, jnp.full_like(is_red, 0.2), 1 - is_red], 1)

    batches = [rays_of(128, seed) for seed in range(20)]
    batches = jax.tree.map(lambda *x: jnp.stack(x), *batches)

    def step(state, inputs):
        params, opt = state
        at, key = inputs
        rays = jax.tree.map(lambda x: x[at], batches)
        loss = loss_of(graphdef, rays, colors(rays), SETTINGS, key)
        updates, opt = tx.update(jax.grad(loss)(params), opt, params)
        return (optax.apply_updates(params, updates), opt), None

    @jax.jit
    def fit(params):
        order = jnp.arange(160) % 20, jax.random.split(jax.random.key(0), 160)
        return lax.scan(step, (params, tx.init(params)), order)[0][0]

    learned = nnx.merge(graphdef, fit(params))
    rays = rays_of(200, 77)
    found = grid_rendering.render_rays(learned, rays, BOX, SETTINGS).composite.rgb
    sure = jnp.abs(rays.ray_dirs[:, 0]) > 0.2
    error = jnp.abs(found - colors(rays)).mean(-1)
    assert float(jnp.median(error[sure])) < 0.1


def test_the_step_lowers_for_every_device(model):
    graphdef, params = nnx.split(model, nnx.Param)
    rays = rays_of(4)

    def slope(params, rays):
        target = jnp.zeros((4, 3))
        loss = loss_of(graphdef, rays, target, SETTINGS, jax.random.key(0))
        return jax.grad(loss)(params)

    def show(params, rays):
        model = nnx.merge(graphdef, params)
        return grid_rendering.render_rays(model, rays, BOX, SETTINGS).composite

    for fn in (slope, show):
        out = export.export(jax.jit(fn), platforms=("cpu", "cuda", "tpu"))(params, rays)
        assert out.platforms == ("cpu", "cuda", "tpu")
