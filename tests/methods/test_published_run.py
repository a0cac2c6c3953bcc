"""How a run of the published network begins: signs of a correct one (spec 10.9)."""

import jax
import numpy as np
import pytest

from egojax.data import views
from egojax.data.world import make_clip
from egojax.methods import field_batches, field_scene, fields, nerf_rendering
from egojax.methods.nerf_rendering import RenderSettings
from egojax.models.nerf import NerfConfig
from egojax.task import Block
from egojax.train import step
from egojax.train.mesh import make_mesh, put_block
from egojax.train.optim import OptimConfig, make_optimizer

RAYS, STEPS, EVERY = 128, 100, 20
TERMS = ("coarse_loss", "fine_loss", "uncertainty_loss", "density_loss")


@pytest.fixture(scope="module")
def run():
    """Terms of the loss, (STEPS,) each, and the masks and B before the first step."""
    clip = make_clip(0, 24, size_hw=(27, 48))
    frames = field_scene.read_scene(views.with_views(clip, every=4))
    made = fields.nerf_fields(
        NerfConfig(width=64, num_slots=100), RenderSettings(num_coarse=16, num_fine=16)
    )
    mesh, tx = make_mesh(1), make_optimizer(OptimConfig(learning_rate=5e-4))
    plan = step.make_plan(made.init, tx, mesh)
    model = made.init(jax.random.key(0))
    settings = RenderSettings(num_coarse=16, num_fine=16)
    batches = field_batches.ray_batches(frames.rows("train"), 27 * 48, RAYS, 0)
    frame, pixel = next(batches).rays.T
    rays = field_scene.rays_of(frames.scene, frame, pixel, official=True)
    draws = nerf_rendering.draw(jax.random.key(1), RAYS, settings)
    fresh = nerf_rendering.render_training(model, rays, settings, draws)
    state = step.start(made.init, jax.random.key(0), tx, plan)
    train = step.make_train_step(made.loss, plan, tx, mesh)
    rows = []
    for _ in range(STEPS // EVERY):
        steps = field_batches.next_steps(batches, EVERY)
        block = put_block(Block(steps, frames.scene), mesh)
        state, logs, finite = train(state, block, jax.random.key(2))
        assert np.asarray(finite).all()
        rows.append({k: np.asarray(logs[k].total / logs[k].weight) for k in TERMS})
    terms = {k: np.concatenate([row[k] for row in rows]) for k in TERMS}
    return terms, np.asarray(fresh.composite.masks), np.asarray(fresh.uncertainty)


def test_before_the_first_step_the_streams_share_a_ray(run):
    _, masks, beta = run
    assert beta.mean() == pytest.approx(0.51, abs=0.06)
    assert (masks.mean(1) > 0.25).all() and (masks.mean(1) < 0.45).all()


def test_the_uncertainty_falls_at_once_and_errors_count_more(run):
    """As published: b from -0.67 to -1.8 in a hundred steps, f from 0.06 to 0.5."""
    terms, _, _ = run
    assert terms["uncertainty_loss"][0] == pytest.approx(-0.67, abs=0.12)
    assert -2.4 < terms["uncertainty_loss"][-10:].mean() < -1.4
    assert terms["fine_loss"][0] < 0.25
    assert 0.3 < terms["fine_loss"][-10:].mean() < 0.7


def test_densities_fall_and_the_coarse_pass_learns(run):
    terms, _, _ = run
    assert terms["density_loss"][0] == pytest.approx(0.0125, abs=0.003)
    assert terms["density_loss"][-10:].mean() < terms["density_loss"][0]
    assert terms["coarse_loss"][-10:].mean() < terms["coarse_loss"][:10].mean()
