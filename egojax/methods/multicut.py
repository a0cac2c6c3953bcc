"""Which nodes of a graph belong together, by edges that attract or repel.

Source: Keuper et al. 2015 (greedy additive edge contraction).
"""

import heapq

import numpy as np


def contract(num_nodes: int, edges: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Joins, again and again, the two parts that attract each other most.

    Args:
      num_nodes: N.
      edges: Integers (E, 2) in 0..N - 1; an edge that is there twice counts twice.
      weights: (E,), finite; > 0 attracts, < 0 repels.

    Returns:
      int64 (N,), the part of each node, 0..P - 1 in the order of their first nodes.
      What two parts have between them is the sum of their edges: no two of the parts
      attract each other.
    """
    around = _neighbours(num_nodes, edges, weights)
    queue = [
        (-weight, a, b)
        for a in range(num_nodes)
        for b, weight in around[a].items()
        if a < b and weight > 0
    ]
    heapq.heapify(queue)
    into = np.arange(num_nodes)
    while queue:
        weight, a, b = heapq.heappop(queue)
        # An edge whose weight has changed since is in the queue once more.
        if around[a].get(b) != -weight:
            continue
        if len(around[a]) < len(around[b]):
            a, b = b, a
        into[b] = a
        _join(around, queue, a, b)
    while (into[into] != into).any():
        into = into[into]
    _, first, part = np.unique(into, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[part]


def _neighbours(
    num_nodes: int, edges: np.ndarray, weights: np.ndarray
) -> list[dict[int, float]]:
    around: list[dict[int, float]] = [{} for _ in range(num_nodes)]
    for (a, b), weight in zip(edges.tolist(), weights.tolist(), strict=True):
        if a != b:
            around[a][b] = around[b][a] = around[a].get(b, 0.0) + weight
    return around


def _join(
    around: list[dict[int, float]],
    queue: list[tuple[float, int, int]],
    a: int,
    b: int,
) -> None:
    """Part b becomes part of a; its edges are a's."""
    del around[a][b]
    for c, weight in around[b].items():
        if c == a:
            continue
        del around[c][b]
        total = around[a].get(c, 0.0) + weight
        around[a][c] = around[c][a] = total
        if total > 0:
            heapq.heappush(queue, (-total, min(a, c), max(a, c)))
    around[b] = {}
