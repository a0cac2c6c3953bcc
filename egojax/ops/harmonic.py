"""Values known at some nodes of a graph, spread over all of them (host)."""

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

# Of the largest weight: keeps nodes solvable that nothing reaches.
RIDGE = 1e-9


def spread_values(
    edges: np.ndarray, weights: np.ndarray, confidence: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """The smoothest values over a graph that stay close to the given ones.

    They have the least sum_n confidence_n |out_n - values_n|^2 + sum_ij weight_ij
    |out_i - out_j|^2: at a node without confidence, the mean of its neighbours.

    Args:
      edges: Int (E, 2), pairs of nodes, each pair once.
      weights: (E,), >= 0.
      confidence: (S,), >= 0.
      values: (S, C); where the confidence is 0 they are not looked at.

    Returns:
      float64 (S, C). Rows that no confident node reaches are 0.

    Source: Zhu et al. 2003 (harmonic functions), Grady 2006 (random walker).
    """
    count = len(confidence)
    first, second = edges.T
    link = sparse.coo_matrix((weights, (first, second)), (count, count))
    link = (link + link.T).tocsc()
    degree = np.asarray(link.sum(1)).ravel()
    scale = max(degree.max(initial=0.0), confidence.max(initial=0.0))
    if scale == 0:
        return np.zeros(values.shape)
    diagonal = degree + confidence + RIDGE * scale
    known = np.where(confidence[:, None] > 0, confidence[:, None] * values, 0.0)
    system = (sparse.diags(diagonal) - link).tocsc()
    # Symmetric and dominated by its diagonal: no pivoting is needed.
    factors = linalg.splu(
        system,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    return factors.solve(known)
