"""Values over a graph: the dense solution, the least of the energy, limits."""

import numpy as np
from scipy import optimize

from egojax.ops.harmonic import spread_values


def graph(seed, count=30):
    rng = np.random.default_rng(seed)
    pairs = np.array([(i, j) for i in range(count) for j in range(i)])
    edges = pairs[rng.random(len(pairs)) < 0.2]
    confidence = rng.random(count) * (rng.random(count) < 0.5)
    return edges, rng.random(len(edges)), confidence, rng.normal(size=(count, 2))


def test_it_is_the_dense_solution():
    edges, weights, confidence, values = graph(0)
    system = np.diag(confidence).astype(float)
    for (i, j), w in zip(edges, weights, strict=True):
        system[[i, j], [i, j]] += w
        system[[i, j], [j, i]] -= w
    exact = np.linalg.solve(system, confidence[:, None] * values)
    found = spread_values(edges, weights, confidence, values)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)


def test_it_has_the_least_energy():
    edges, weights, confidence, values = graph(1, 12)

    def energy(x):
        jump = x[edges[:, 0]] - x[edges[:, 1]]
        return confidence @ (x - values[:, 0]) ** 2 + weights @ jump**2

    best = optimize.minimize(energy, np.zeros(12), tol=1e-10).x
    found = spread_values(edges, weights, confidence, values[:, :1])
    np.testing.assert_allclose(found[:, 0], best, atol=1e-4)


def test_values_stay_within_those_given():
    edges, weights, confidence, values = graph(2)
    found = spread_values(edges, weights, confidence, values)
    known = values[confidence > 0]
    assert np.all(found.max(0) <= known.max(0)) and np.all(found.min(0) >= -2.5)
    assert np.all(found.min(0) >= known.min(0) - 1e-6)


def test_a_constant_stays_and_a_scale_of_all_weights_changes_nothing():
    edges, weights, confidence, values = graph(3)
    found = spread_values(edges, weights, confidence, values)
    scaled = spread_values(edges, 1e3 * weights, 1e3 * confidence, values)
    np.testing.assert_allclose(scaled, found, rtol=1e-8, atol=1e-12)
    flat = spread_values(edges, weights, confidence, np.full_like(values, 0.7))
    np.testing.assert_allclose(flat, 0.7, rtol=1e-6)


def test_what_nothing_reaches_is_zero():
    edges, ones = np.array([[0, 1], [2, 3]]), np.ones(2)
    confidence = np.array([1.0, 0, 0, 0, 0])
    values = np.array([[3.0], [np.nan], [5], [5], [5]])  # Only the first is looked at.
    found = spread_values(edges, ones, confidence, values)
    np.testing.assert_allclose(found[:, 0], [3, 3, 0, 0, 0], rtol=1e-6)
    nothing = spread_values(np.zeros((0, 2), int), np.zeros(0), np.zeros(2), values[:2])
    np.testing.assert_array_equal(nothing, 0)
