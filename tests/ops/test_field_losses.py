"""Losses of radiance fields against published values and plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from egojax.ops import field_losses


def test_the_loss_of_streams_is_the_published_one():
    density = jnp.array(
        [[[0.5, 1, 2], [0, 0.1, 0.2]], [[0.3, 0.3, 0.3], [1, 2, 4]]], jnp.float32
    )
    found = field_losses.stream_loss(
        fine=jnp.array([[0.25, 0.45, 0.5], [0.2, 0.1, 0]]),
        uncertainty=jnp.array([0.13, 0.53]),
        changing_density=density,
        target=jnp.array([[0.3, 0.4, 0.5], [0, 0.1, 0.2]]),
        coarse=jnp.array([[0.2, 0.4, 0.6], [0.1, 0.1, 0.1]]),
    )
    expected = [0.00333333, 0.04838808, -1.33754969, 0.0195]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_allclose(found.total, -1.26632822, atol=1e-6)


def test_the_loss_of_the_published_ray_is_the_published_one():
    """The example of the renderer, in training mode, against (0.3, 0.4, 0.5)."""
    moving = [0.1, 0.3, 0.0001, 0.7, 0.01]
    actor = [0.4, 0.1, 0.05, 0.02, 0.03]
    found = field_losses.stream_loss(
        fine=jnp.array([0.52636826, 0.45878646, 0.4451846])[None],
        uncertainty=jnp.array([0.18500495]),
        changing_density=jnp.array([moving, actor])[:, None],
        target=jnp.array([0.3, 0.4, 0.5])[None],
        coarse=jnp.array([0.34889823, 0.44889826, 0.5488982])[None],
    )
    expected = [0.00119551841, 0.28098404, -1.68737268, 0.00342019997]
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    np.testing.assert_allclose(found.total, -1.40177286, atol=2e-6)


def test_without_a_coarse_pass_its_term_is_zero():
    found = field_losses.stream_loss(
        jnp.zeros((2, 3)), jnp.ones(2), jnp.zeros((2, 2, 4)), jnp.zeros((2, 3))
    )
    assert found.coarse == 0 and found.total == 0


def test_without_streams_that_change_errors_count_plainly():
    fine, target = jnp.array([[0.5, 0.5, 0.5]]), jnp.array([[0.1, 0.5, 0.9]])
    found = field_losses.stream_loss(fine, jnp.ones(1), jnp.zeros((0, 1, 4)), target)
    np.testing.assert_allclose(found.total, 0.32 / 6, rtol=1e-6)


def edges(rng, num: int) -> np.ndarray:
    return np.sort(rng.random((6, num + 1)), -1).astype(np.float32)


def test_the_interlevel_loss_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    fine, coarse = edges(rng, 7), edges(rng, 5)
    coarse[:, 0], coarse[:, -1] = 0.0, 1.0
    weights, proposal = (rng.random((6, n)).astype(np.float32) / n for n in (7, 5))
    found = field_losses.interlevel_loss(fine, weights, coarse, proposal)
    for ray in range(6):
        for i in range(7):
            low, high = fine[ray, i], fine[ray, i + 1]
            touched = (coarse[ray, 1:] > low) & (coarse[ray, :-1] < high)
            bound = proposal[ray, touched].sum()
            w = weights[ray, i]
            expected = max(0.0, w - bound) ** 2 / (w + 1e-7)
            np.testing.assert_allclose(found[ray, i], expected, rtol=1e-4, atol=1e-6)


def test_a_proposal_of_the_same_intervals_and_weights_costs_nothing():
    rng = np.random.default_rng(1)
    at, weights = edges(rng, 8), rng.random((6, 8)).astype(np.float32)
    found = field_losses.interlevel_loss(at, weights, at, weights)
    np.testing.assert_allclose(found, 0.0, atol=1e-6)


def test_only_the_proposal_learns_from_the_interlevel_loss():
    rng = np.random.default_rng(2)
    at, weights = edges(rng, 4), rng.random((6, 4)).astype(np.float32)

    def total(*args):
        return field_losses.interlevel_loss(*args).sum()

    args = jnp.asarray(at), jnp.asarray(weights), jnp.asarray(at), 0.5 * weights
    slopes = jax.grad(total, argnums=(0, 1, 2, 3))(*args)
    assert all((slope == 0).all() for slope in slopes[:3])
    assert (slopes[3] <= 0).all() and (slopes[3] < 0).any()


@pytest.mark.parametrize("seed", range(2))
def test_the_distortion_loss_is_the_double_sum(seed):
    rng = np.random.default_rng(seed)
    at, weights = edges(rng, 9), rng.random((6, 9)).astype(np.float32)
    found = field_losses.distortion_loss(at, weights)
    mids = 0.5 * (at[:, 1:] + at[:, :-1])
    apart = np.abs(mids[:, :, None] - mids[:, None, :])
    expected = (weights[:, :, None] * weights[:, None, :] * apart).sum((1, 2))
    expected += (weights**2 * np.diff(at)).sum(1) / 3
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_motion_loss_is_the_cross_entropy_of_what_is_known():
    changing = jnp.array([0.9, 0.2, 0.0, 1.0, 0.3, 0.5])
    moves = jnp.array([1, 1, 1, 0, 0, 0.5])
    found = field_losses.motion_loss(changing, moves, 0.5)
    shown = -np.log([0.9, 0.2, 1e-3]).sum() - 0.5 * np.log([1e-3, 0.7]).sum()
    assert float(found) == pytest.approx(shown / 6, rel=1e-6)
    alone = field_losses.motion_loss(changing, moves)
    assert float(alone) == pytest.approx(-np.log([0.9, 0.2, 1e-3]).sum() / 6, rel=1e-6)


def test_the_motion_loss_pulls_up_what_moves_and_nothing_that_is_unknown():
    moves = jnp.array([1, 0, 0.5])
    slope = jax.grad(field_losses.motion_loss)(jnp.full(3, 0.4), moves, 2.0)
    np.testing.assert_allclose(slope, [-1 / 1.2, 2 / 1.8, 0.0], rtol=1e-5)
    ends = jax.grad(field_losses.motion_loss)(jnp.array([0.0, 1.0, 1.0]), moves)
    assert np.isfinite(ends).all()


def test_losses_lower_for_every_device():
    def everything(edges, weights):
        moves = jnp.arange(4.0)
        return (
            field_losses.motion_loss(weights[:, 0], moves),
            field_losses.interlevel_loss(edges, weights, edges, weights),
            field_losses.distortion_loss(edges, weights),
        )

    args = jnp.ones((4, 6)), jnp.ones((4, 5))
    out = export.export(jax.jit(everything), platforms=("cpu", "cuda", "tpu"))(*args)
    assert out.platforms == ("cpu", "cuda", "tpu")
