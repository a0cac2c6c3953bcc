"""Superpixels of a frame as a graph: which touch, and how far votes reach."""

import numpy as np
import pytest

from egojax.methods.frame_nodes import frame_nodes, spread_votes

SIZE = 24, 36


def two_walls() -> np.ndarray:
    image = np.full((*SIZE, 3), 40, np.uint8)
    image[:, SIZE[1] // 2 :] = (220, 180, 60)
    return image


def test_links_are_weak_across_an_edge_alone():
    nodes = frame_nodes(two_walls(), 6, 1.5, 1e-3)
    is_left = nodes.center_xy[:, 0] < SIZE[1] / 2
    across = is_left[nodes.edges[:, 0]] != is_left[nodes.edges[:, 1]]
    assert across.any() and nodes.weights[across].max() < 0.05
    assert nodes.weights[~across].mean() > 0.5
    assert nodes.ids.shape == SIZE and nodes.ids.max() < len(nodes.color)
    # Each pair that shares a side of pixels, once.
    ids, pairs = nodes.ids, set()
    for a, b in ((ids[:, :-1], ids[:, 1:]), (ids[:-1], ids[1:])):
        sides = np.sort(np.stack([a[a != b], b[a != b]], 1), 1)
        pairs |= set(map(tuple, sides.tolist()))
    assert sorted(map(tuple, nodes.edges.tolist())) == sorted(pairs)


def test_a_vote_fills_its_wall():
    nodes = frame_nodes(two_walls(), 6, 1.5, 1e-3)
    votes = np.zeros((len(nodes.color), 3))
    left, right = nodes.ids[3, 3], nodes.ids[20, 33]
    votes[left, 1] = votes[right, 2] = 1.0
    shares = spread_votes(nodes, votes)
    is_left = nodes.center_xy[:, 0] < SIZE[1] / 2
    np.testing.assert_array_equal(shares.argmax(1), np.where(is_left, 1, 2))
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
    assert shares.min() >= 0


@pytest.mark.parametrize("count", [1, 4])
def test_without_votes_all_is_background(count):
    nodes = frame_nodes(two_walls(), 6, 1.5, 1e-3)
    shares = spread_votes(nodes, np.zeros((len(nodes.color), count)))
    np.testing.assert_array_equal(shares, np.eye(count)[np.zeros(len(shares), int)])
