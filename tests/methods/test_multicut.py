"""Contraction of graphs: small ones by hand, and what holds for any."""

import itertools

import numpy as np
import pytest

from egojax.methods.multicut import contract


def _contract(count, rows):
    edges = np.array([row[:2] for row in rows], int).reshape(-1, 2)
    return contract(count, edges, np.array([row[2] for row in rows], float))


def test_a_chain_is_cut_where_it_repels():
    part = _contract(4, [(0, 1, 2.0), (1, 2, -1.0), (2, 3, 1.0)])
    np.testing.assert_array_equal(part, [0, 0, 1, 1])


def test_what_two_parts_have_between_them_adds_up():
    """1 attracts 2 by 3, but 0, which is with 1, repels 2 by 4."""
    part = _contract(3, [(0, 1, 5.0), (1, 2, 3.0), (0, 2, -4.0)])
    np.testing.assert_array_equal(part, [0, 0, 1])
    part = _contract(3, [(0, 1, 5.0), (1, 2, 3.0), (0, 2, -2.0)])
    np.testing.assert_array_equal(part, [0, 0, 0])


def test_an_edge_that_is_there_twice_counts_twice():
    assert len(set(_contract(2, [(0, 1, 1.0), (1, 0, -3.0)]))) == 2
    assert len(set(_contract(2, [(0, 1, 2.0), (1, 0, -1.0)]))) == 1


@pytest.mark.parametrize("count", [0, 1, 3])
def test_without_edges_all_are_by_themselves(count):
    np.testing.assert_array_equal(_contract(count, []), np.arange(count))


def test_an_edge_to_itself_says_nothing():
    np.testing.assert_array_equal(_contract(2, [(1, 1, 9.0)]), [0, 1])


def _random(seed, count=12):
    rng = np.random.default_rng(seed)
    pairs = np.array([*itertools.combinations(range(count), 2)])
    return pairs, rng.normal(-0.3, 1, len(pairs))


def _value(part, edges, weights):
    return weights[part[edges[:, 0]] == part[edges[:, 1]]].sum()


@pytest.mark.parametrize("seed", range(8))
def test_no_two_parts_attract_each_other_in_the_end(seed):
    edges, weights = _random(seed)
    part = contract(12, edges, weights)
    for a, b in itertools.combinations(range(part.max() + 1), 2):
        ends = np.sort(part[edges], axis=1)
        assert weights[(ends[:, 0] == a) & (ends[:, 1] == b)].sum() <= 1e-9
    assert _value(part, edges, weights) >= 0


@pytest.mark.parametrize("seed", range(4))
def test_small_graphs_come_near_the_best_partition(seed):
    """Of all partitions of six nodes; greedy joining reaches most of the best value."""
    edges, weights = _random(seed, 6)
    best = max(
        _value(np.array(p), edges, weights)
        for p in itertools.product(range(6), repeat=6)
    )
    found = _value(contract(6, edges, weights), edges, weights)
    assert 0.7 * best <= found <= best + 1e-9


def test_the_order_of_edges_does_not_matter():
    edges, weights = _random(3)
    order = np.random.default_rng(0).permutation(len(edges))
    flipped = edges[order][:, ::-1]
    np.testing.assert_array_equal(
        contract(12, flipped, weights[order]), contract(12, edges, weights)
    )
