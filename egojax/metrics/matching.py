"""Maximum-weight one-to-one matching of a sparse table of pairs.

The pairs of a whole sequence are matched at once. Most of them are settled without a
solver: a pair that outweighs its strongest rival in its row plus the strongest one in
its column is in every optimal matching, since leaving it out could gain those two at
most. What is left goes to the assignment solver, group by group.
"""

import numpy as np
from scipy import optimize


def best_matching(
    group: np.ndarray, row: np.ndarray, col: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Chooses pairs so that no row and no column is used twice and the sum is largest.

    Args:
      group: Integers (K,): independent problems, such as frames. A row, or a column,
        belongs to one group.
      row: Integers (K,), not negative.
      col: Integers (K,), not negative.
      weight: Floats (K,), positive. Pairs that are not listed have weight 0.

    Returns:
      Booleans (K,): the pairs chosen. Ties are broken in any way.
    """
    # A pair without any rival needs no comparison.
    chosen = is_alone(row) & is_alone(col)
    left = np.flatnonzero(~chosen)
    while left.size:
        rivals = _rival(row[left], weight[left]) + _rival(col[left], weight[left])
        sure = left[weight[left] > rivals]
        if not sure.size:
            break
        chosen[sure] = True
        free = ~(_among(row[left], row[sure]) | _among(col[left], col[sure]))
        left = left[free]
    order = left[np.argsort(group[left], kind="stable")]
    bounds = np.flatnonzero(np.diff(group[order])) + 1
    for pairs in np.split(order, bounds):
        if pairs.size:
            chosen[_solve(row[pairs], col[pairs], weight[pairs], pairs)] = True
    return chosen


def is_alone(key: np.ndarray) -> np.ndarray:
    """Which pairs are the only one of their key."""
    return np.bincount(key, minlength=1)[key] == 1


def _rival(key: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """For each pair the largest weight among the other pairs of the same key, or 0."""
    order = np.lexsort((-weight, key))
    sorted_key, sorted_weight = key[order], weight[order]
    is_first = np.ones(len(key), bool)
    is_first[1:] = sorted_key[1:] != sorted_key[:-1]
    best = np.maximum.accumulate(np.where(is_first, np.arange(len(key)), 0))
    second = np.append(np.where(is_first[1:], 0.0, sorted_weight[1:]), 0.0)
    out = np.empty(len(key))
    out[order] = np.where(is_first, second, sorted_weight[best])
    return out


def _among(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Which values occur in `chosen`, through a table."""
    table = np.zeros(int(values.max()) + 1, bool)
    table[chosen] = True
    return table[values]


def _solve(
    row: np.ndarray, col: np.ndarray, weight: np.ndarray, pairs: np.ndarray
) -> np.ndarray:
    rows, r = np.unique(row, return_inverse=True)
    cols, c = np.unique(col, return_inverse=True)
    table = np.zeros((len(rows), len(cols)))
    which = np.full(table.shape, -1)
    table[r, c], which[r, c] = weight, pairs
    picked = which[optimize.linear_sum_assignment(table, maximize=True)]
    return picked[picked >= 0]
