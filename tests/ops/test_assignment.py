"""Matchings against scipy, plans against their optimality conditions, limits."""

import functools
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from scipy.optimize import linear_sum_assignment

from egojax.ops import assignment

exact = jax.jit(assignment.exact_matching)
SHAPES = [(5, 4), (3, 6), (20, 8), (64, 16), (1, 1), (40, 2)]


def best(cost: np.ndarray, alpha: float) -> tuple[np.ndarray, float]:
    """The optimum by scipy: a dustbin row of its own for each observation."""
    num_tracks, num_obs = cost.shape
    own = np.where(np.eye(num_obs, dtype=bool), alpha, 1e7)
    table = np.minimum(np.concatenate([cost, own]), 1e7)
    rows, cols = linear_sum_assignment(table)
    found = np.full(num_obs, -1)
    found[cols] = np.where(rows < num_tracks, rows, -1)
    return found, table[rows, cols].sum()


def total(cost: np.ndarray, alpha: float, found: np.ndarray) -> float:
    assert len(set(found[found >= 0])) == (found >= 0).sum(), "a track taken twice"
    return sum(cost[i, j] if i >= 0 else alpha for j, i in enumerate(found))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_exact_matching_costs_what_scipys_does(shape):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        # Rows that everyone wants make conflicts, which need the search.
        cost = rng.uniform(0, 3, (shape[0], 1)) + rng.uniform(0, 6, shape)
        cost[rng.random(shape) < 0.2] = np.inf
        alpha = rng.uniform(1, 6)
        found = np.asarray(exact(jnp.float32(cost), alpha))
        assert total(cost, alpha, found) == pytest.approx(
            best(cost, alpha)[1], abs=1e-4
        )


def test_the_soft_matching_tends_to_the_exact_one():
    """40 of 40 at epsilon 0.01; at 0.1 the plan is still soft."""

    @jax.jit
    def soft(cost):
        plan = assignment.sinkhorn(
            cost, 3.0, epsilon=0.01, num_iters=500, tolerance=0.0
        )
        return assignment.round_plan(plan)

    for seed in range(40):
        cost = np.random.default_rng(seed).uniform(0, 10, (12, 6))
        np.testing.assert_array_equal(soft(jnp.float32(cost)), best(cost, 3.0)[0])


def test_the_plan_meets_its_own_optimality_conditions():
    """P_ij = u_i k_ij v_j with slack u_i and dustbin k v_j: the problem's KKT."""
    cost = np.random.default_rng(5).uniform(0, 4, (9, 5))
    plan = assignment.sinkhorn(
        jnp.float32(cost), 2.0, epsilon=0.5, num_iters=3000, tolerance=0.0
    )
    matched, unmatched = np.asarray(plan.matched), np.asarray(plan.unmatched)
    slack = 1.0 - matched.sum(1)
    expected = slack[:, None] * np.exp((2.0 - cost) / 0.5) * unmatched[None, :]
    np.testing.assert_allclose(matched, expected, rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(matched.sum(0) + unmatched, 1.0, atol=1e-5)


def test_gradients_agree_with_finite_differences():
    cost = jnp.float32(np.random.default_rng(1).uniform(0, 3, (5, 3)))

    def loss(c):
        plan = assignment.sinkhorn(c, 1.5, epsilon=0.5, num_iters=60, tolerance=0.0)
        return -jnp.log(plan.matched[0, 0] + 1e-3) + plan.unmatched[1]

    grad = jax.grad(loss)(cost)
    step = 1e-2
    for i, j in [(0, 0), (2, 1), (4, 2)]:
        bump = jnp.zeros_like(cost).at[i, j].set(step)
        numeric = (loss(cost + bump) - loss(cost - bump)) / (2 * step)
        assert grad[i, j] == pytest.approx(float(numeric), abs=3e-3)


def unrolled_plan(cost, alpha, epsilon):
    """Sinkhorn as it is written down, so that a gradient passes all iterations."""
    gain = (alpha - cost) / epsilon

    def total(x, axis):
        return -jnp.logaddexp(jax.nn.logsumexp(x, axis), 0.0)

    def one(plan, _):
        g = total(gain + plan[0][:, None], 0)
        return (total(gain + g[None, :], 1), g), None

    start = tuple(map(jnp.zeros, gain.shape))
    (f, g), _ = jax.lax.scan(one, start, length=400)  # Its gradient passes all 400.
    return jnp.exp(gain + f[:, None] + g[None, :]), jnp.exp(g)


@pytest.mark.parametrize("transform", [jax.grad, jax.jacfwd])
def test_gradients_equal_those_of_a_converged_unrolled_run(transform):
    cost = jnp.float32(np.random.default_rng(1).uniform(0, 3, (5, 3)))

    def loss(solve):
        def value(c, alpha):
            matched, unmatched = solve(c, alpha, epsilon=0.5)
            return -jnp.log(matched[0, 0] + 1e-3) + unmatched[1]

        return jax.jit(transform(value, argnums=(0, 1)))(cost, 1.5)

    chex.assert_trees_all_close(
        loss(functools.partial(assignment.sinkhorn, num_iters=2000, tolerance=1e-6)),
        loss(unrolled_plan),
        atol=1e-4,
        rtol=1e-3,
    )


def test_the_default_has_the_right_gradient_and_takes_plain_numbers():
    cost = np.array([[0.2, 1.0], [0.7, 0.4]], np.float32)

    def first(solve, **options):
        return jax.grad(lambda c: solve(c, 1.0, epsilon=1, **options)[0][0, 0])(cost)

    expected = first(unrolled_plan)
    np.testing.assert_allclose(first(assignment.sinkhorn), expected, atol=5e-3)
    plan = assignment.sinkhorn(cost, 1, epsilon=1, tolerance=0)
    np.testing.assert_allclose(plan.matched, unrolled_plan(cost, 1.0, 1)[0], atol=1e-5)


@pytest.mark.parametrize("epsilon", [0.01, 0.1])
def test_gradients_stay_finite_where_the_plan_is_hard(epsilon):
    def loss(c):
        plan = assignment.sinkhorn(c, 30.0, epsilon=epsilon)
        return (plan.matched**2).sum() + plan.unmatched.sum()

    cost = jnp.float32(np.random.default_rng(3).uniform(0, 40, (12, 6)))
    cost = cost.at[3].set(jnp.inf)
    chex.assert_tree_all_finite(jax.value_and_grad(loss)(cost))


def test_the_plan_is_otts_where_nobody_may_stay_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ott.geometry import geometry
        from ott.solvers import linear
    cost = np.random.default_rng(6).uniform(0, 4, (6, 6)).astype(np.float32)
    ones = jnp.ones(6)
    with jax.debug_key_reuse(False), jax.numpy_rank_promotion("allow"):
        problem = geometry.Geometry(cost_matrix=jnp.asarray(cost), epsilon=0.5)
        theirs = linear.solve(problem, a=ones, b=ones, threshold=1e-6).matrix
    plan = assignment.sinkhorn(
        jnp.asarray(cost), 30.0, epsilon=0.5, num_iters=30_000, tolerance=1e-7
    )
    np.testing.assert_allclose(plan.matched, theirs, atol=2e-5)


def test_confidence_is_that_of_the_choice_against_all_others():
    """By hand: one pair at cost 1 against being new at 3: 1 / (1 + exp(-2))."""
    sure = assignment.link_confidence(jnp.array([[1.0]]), jnp.array([0]), 3.0)
    assert float(sure[0]) == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)
    new = assignment.link_confidence(jnp.array([[1.0]]), jnp.array([-1]), 3.0)
    assert float(new[0]) == pytest.approx(1 / (1 + np.exp(2)), abs=1e-6)


def test_a_rival_that_belongs_to_another_raises_no_doubt():
    cost = jnp.array([[0.0, 0.5], [0.5, 0.0]])
    alone = assignment.link_confidence(cost[:, :1], jnp.array([0]), 9.0)
    both = assignment.link_confidence(cost, jnp.array([0, 1]), 9.0)
    assert float(alone[0]) < 0.63 < float(both[0])
    assert ((both > 0) & (both <= 1)).all()


def test_matchings_and_gradients_lower_for_every_platform():
    def loss(cost):
        found = assignment.exact_matching(cost, 2.0)
        plan = assignment.sinkhorn(cost, 2.0)
        return plan.matched.sum(), assignment.link_confidence(cost, found, 2.0)

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    shape = jax.ShapeDtypeStruct((16, 4), jnp.float32)
    exported = export.export(step, platforms=["cpu", "cuda", "tpu"])(shape)
    assert exported.platforms == ("cpu", "cuda", "tpu")


@pytest.mark.parametrize("value", [0.0, 1e6, np.inf])
def test_values_and_gradients_stay_finite(value):
    def loss(c):
        plan = assignment.sinkhorn(c, 3.0, num_iters=20, tolerance=0.0)
        return plan.matched.sum() + plan.unmatched.sum()

    cost = jnp.full((4, 3), value, jnp.float32)
    chex.assert_tree_all_finite(jax.value_and_grad(loss)(cost))
    assert (np.asarray(exact(cost, 3.0)) >= 0).sum() == (3 if value == 0 else 0)


def test_permuting_observations_permutes_the_matching():
    rng = np.random.default_rng(0)
    cost = rng.uniform(0, 5, (10, 6)).astype(np.float32)
    order = rng.permutation(6)
    found = np.asarray(exact(cost, 2.0))
    np.testing.assert_array_equal(np.asarray(exact(cost[:, order], 2.0)), found[order])


def test_a_tie_with_the_dustbin_is_no_match_and_empty_problems_have_no_matches():
    assert int(exact(jnp.float32([[5.0]]), 5.0)[0]) == -1
    assert exact(jnp.zeros((0, 3)), 1.0).tolist() == [-1, -1, -1]
    assert exact(jnp.zeros((3, 0)), 1.0).shape == (0,)


def test_many_problems_at_once_equal_one_after_the_other():
    cost = jnp.float32(np.random.default_rng(2).uniform(0, 5, (6, 8, 5)))
    together = jax.vmap(lambda c: assignment.exact_matching(c, 2.5))(cost)
    np.testing.assert_array_equal(together, [exact(c, 2.5) for c in cost])


def test_a_cost_without_columns_is_told_by_shape():
    with pytest.raises(Exception, match="cost"):
        assignment.exact_matching(jnp.zeros(3), 1.0)
