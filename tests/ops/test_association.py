"""The terms of the cost: published values, invariances, unknowns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egojax.ops import association
from egojax.ops.association import CostWeights

PUBLISHED = CostWeights()


def test_published_similarities():
    """Oracle T1 of the spec."""
    x, y = jnp.array([[0.1, 0.2, 0.3]]), jnp.array([[0.4, -0.1, 0.5]])
    location = association.location_cost(x, y, PUBLISHED)
    assert float(location[0, 0]) == pytest.approx(2.5225850930, abs=1e-6)
    track, seen = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[1.5, 1.5, 2.5]])
    looks = association.appearance_cost(track, seen, PUBLISHED)
    assert float(looks[0, 0]) == pytest.approx(0.9130968368, abs=1e-5)
    label = association.mismatch_cost(jnp.array([4]), jnp.array([5]), 10.0)
    assert float((location + looks + label)[0, 0]) == pytest.approx(
        13.4356819, abs=1e-5
    )


def test_far_apart_stays_finite():
    """The published code underflows at 27.3 units; the closed form does not (T1)."""
    a, b = jnp.zeros((1, 3)), jnp.array([[28.0, 0.0, 0.0]])
    cost = association.location_cost(a, b, PUBLISHED)
    assert float(cost[0, 0]) == pytest.approx(786.302585, rel=1e-6)


def test_squared_distances_equal_the_plain_ones():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 50)), rng.normal(size=(4, 50))
    plain = ((a[:, None] - b[None]) ** 2).sum(-1)
    found = association.squared_distance(jnp.float32(a), jnp.float32(b))
    np.testing.assert_allclose(found, plain, rtol=1e-5)
    same = association.squared_distance(jnp.float32(a), jnp.float32(a))
    assert (np.diag(same) >= 0).all()


def test_the_location_cost_levels_off_at_its_cap():
    weights = CostWeights(beta_l=1.0, location_weight=10.0, location_cap=6.0)
    far = jnp.array([[0.0, 0, 0], [0.1, 0, 0], [50.0, 0, 0]])
    cost = association.location_cost(far, jnp.zeros((1, 3)), weights)[:, 0]
    assert float(cost[0]) == pytest.approx(0.0, abs=1e-5)
    assert float(cost[1]) == pytest.approx(0.1, abs=2e-3)
    assert float(cost[2]) == pytest.approx(6.0, abs=3e-3)


def test_an_unknown_location_says_nothing():
    weights = CostWeights(beta_l=1.0, location_cap=6.0)
    unknown = jnp.array([[jnp.nan] * 3, [0.0, 0.0, 0.0]])
    cost = association.location_cost(unknown, jnp.zeros((2, 3)), weights)
    np.testing.assert_allclose(cost[0], 3.0)
    free = association.location_cost(
        unknown, jnp.zeros((2, 3)), CostWeights(beta_l=1.0)
    )
    np.testing.assert_allclose(free[0], 0.0)


def test_a_rigid_motion_of_the_world_changes_nothing():
    rng = np.random.default_rng(4)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    shift = rng.normal(size=3)
    a, b = rng.normal(size=(6, 3)), rng.normal(size=(5, 3))

    def cost(a, b):
        return association.location_cost(jnp.float32(a), jnp.float32(b), PUBLISHED)

    np.testing.assert_allclose(
        cost(a, b), cost(a @ turn.T + shift, b @ turn.T + shift), rtol=1e-4, atol=1e-5
    )


def test_mismatch_counts_only_what_is_known():
    cost = association.mismatch_cost(jnp.array([1, -1]), jnp.array([1, 2, -1]), 4.0)
    np.testing.assert_array_equal(cost, [[0, 4, 0], [0, 0, 0]])


@pytest.mark.parametrize("cap", [6.0, np.inf])
def test_gradients_are_finite_also_where_nothing_is_known(cap):
    def loss(at, weights):
        return association.location_cost(at, jnp.ones((2, 3)), weights).sum()

    at = jnp.array([[jnp.nan] * 3, [1.0, 1.0, 1.0], [100.0, 0.0, 0.0]])
    weights = jax.tree.map(jnp.float32, CostWeights(location_cap=cap))
    grads = jax.grad(loss, argnums=(0, 1))(at, weights)
    np.testing.assert_array_equal(np.isfinite(grads[0]), True)
    assert np.isfinite(grads[1].location_weight)
