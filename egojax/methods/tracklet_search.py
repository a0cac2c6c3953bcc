"""Partitions tracklets into objects: chains in time of the highest evidence (host).

The search starts from the best set of links by pairs (an assignment of ends to starts)
and improves the evidence of whole chains by moves (`tracklet_moves`): those that gain
most and touch different chains are made at once, until none gains. Every round adds
evidence, so it ends.

Memory is O(tracklets x neighbours) but for blocks of bounded size.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from egojax.methods.tracklet_chains import Bonds, Layout, evaluate, lay_out
from egojax.methods.tracklet_evidence import Model, link_terms, pair_score
from egojax.methods.tracklet_moves import Moves, all_moves, change_of

BLOCK = 2_000_000  # Numbers in a temporary array.


class Solution(NamedTuple):
    """A partition."""

    chains: list[list[int]]  # Each sorted in time.
    margin: np.ndarray  # (K,): nats lost by the best change of what comes before it.
    evidence: float


def search(model: Model, bonds: Bonds, neighbours: int) -> Solution:
    """Finds the partition of most evidence; deterministic.

    Args:
      model: Of the clip.
      bonds: Constraints; sets of one `holds` column must not overlap in time.
      neighbours: Successors and predecessors of each tracklet that are tried.
    """
    count = len(model.tracklets.first)
    i, j = candidates(model, neighbours)
    chains = _first_links(model, bonds, _bound_chains(model, bonds), i, j)
    moves = all_moves(i, j, count)
    gains = np.full(len(moves.kind), -np.inf)
    changed = np.ones(count, bool)
    while True:
        layout = lay_out(model, bonds, chains)
        stale = np.flatnonzero(changed[moves.a] | changed[moves.b])
        gains[stale] = _gains(model, bonds, layout, moves.take(stale))
        picked = _compatible(layout, moves, gains)
        if not picked:
            margin = _margins(layout, moves, gains)
            return Solution(chains, margin, float(layout.values.sum()))
        chains, changed = _apply(layout, moves, picked)


def candidates(model: Model, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (i, j) worth a try: each tracklet's best successors and predecessors."""
    count = len(model.tracklets.first)
    every = np.arange(count)
    size = max(1, BLOCK // max(1, count * 4))
    found = []
    for low in range(0, count, size):
        block = every[low : low + size]
        found.append(_best(model, block[:, None], every[None, :], neighbours))
        back = _best(model, every[None, :], block[:, None], neighbours)
        found.append(back[::-1])
    pairs = np.concatenate(found, axis=1) if found else np.zeros((2, 0), int)
    return tuple(np.unique(pairs, axis=1))


def _best(model: Model, i: np.ndarray, j: np.ndarray, neighbours: int) -> np.ndarray:
    """(2, P): rows of the block and, for each, its columns of the best pair score."""
    score = _quick_score(model, i, j)
    block = (i if i.shape[1] == 1 else j)[:, 0]
    keep = min(neighbours, score.shape[1])
    top = np.argpartition(-score, keep - 1, axis=1)[:, :keep]
    good = np.isfinite(np.take_along_axis(score, top, axis=1))
    row, slot = np.nonzero(good)
    return np.stack([block[row], top[row, slot]])


def _quick_score(model: Model, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """The score of pairs (B, K) but for the category's exact form."""
    a, looks, weights = model.tracklets, model.looks, model.config.weights
    place, same_id = link_terms(model, i, j)
    flat = a.feature - a.feature.mean(0)
    rows, columns = (i[:, 0], j[0]) if i.shape[1] == 1 else (j[:, 0], i[0])
    square = (flat**2).sum(1)
    apart = square[rows][:, None] + square[columns] - 2 * flat[rows] @ flat[columns].T
    own = looks.own[rows][:, None] + looks.own[columns]
    wide = own + 2 * looks.alike
    look = 0.5 * flat.shape[1] * np.log(wide / own)
    look = look - 0.5 * apart * (1 / own - 1 / wide)
    kind = np.where(a.category[i] == a.category[j], 0.0, -2.0)
    score = weights[0] * place + weights[1] * look + weights[2] * kind
    score = score + weights[3] * same_id
    return np.where(a.first[j] > a.last[i], score, -np.inf)


def _bound_chains(model: Model, bonds: Bonds) -> list[list[int]]:
    """Must-linked tracklets as chains, all others alone."""
    count = len(model.tracklets.first)
    taken = np.zeros(count, bool)
    chains = []
    for group in bonds.holds.T:
        members = np.flatnonzero(group & ~taken)
        if len(members):
            chains.append([int(k) for k in members])  # Sorted by first frame.
            taken[members] = True
    return chains + [[int(k)] for k in np.flatnonzero(~taken)]


def _first_links(
    model: Model, bonds: Bonds, chains: list[list[int]], i: np.ndarray, j: np.ndarray
) -> list[list[int]]:
    """Joins tracklets by the best assignment of ends to starts."""
    count = len(model.tracklets.first)
    free = np.ones(count, bool)
    free[[k for chain in chains if len(chain) > 1 for k in chain]] = False
    free &= ~bonds.holds.any(axis=1)
    score = pair_score(model, i, j)
    good = (score > 0) & free[i] & free[j]
    i, j, score = i[good], j[good], score[good]
    if not len(i):
        return chains
    # Every end may also end for good: a column of its own at no gain.
    every = np.arange(count)
    rows = np.concatenate([i, every])
    columns = np.concatenate([j, count + every])
    gain = np.concatenate([score, np.full(count, 1e-9)])
    table = sparse.csr_matrix((gain, (rows, columns)), (count, 2 * count))
    left, right = csgraph.min_weight_full_bipartite_matching(table, maximize=True)
    follows = {int(a): int(b) for a, b in zip(left, right, strict=True) if b < count}
    heads = [c for c in chains if c[0] not in set(follows.values())]
    out = []
    for head in heads:
        chain = list(head)
        while chain[-1] in follows:
            chain.append(follows[chain[-1]])
        out.append(chain)
    return out


# ----------------------------------------------------------------------- improve


def _gains(model: Model, bonds: Bonds, layout: Layout, moves: Moves) -> np.ndarray:
    """What each move adds to the total evidence; -inf where it makes no sense."""
    gains = np.full(len(moves.kind), -np.inf)
    size = max(1, BLOCK // (9 * model.sums.shape[1]))
    for low in range(0, len(gains), size):
        change = change_of(layout, moves.take(slice(low, low + size)))
        rows = np.flatnonzero(change.valid)
        parts = change.parts[rows].reshape(-1, 3, 2)
        new = evaluate(model, bonds, layout, parts).reshape(-1, 3).sum(1)
        p, q = change.old[rows].T
        old = layout.values[p] + np.where(p != q, layout.values[q], 0.0)
        gains[low + rows] = new - old
    return gains


def _compatible(layout: Layout, moves: Moves, gains: np.ndarray) -> list[int]:
    """The best moves that touch different chains."""
    touched = np.zeros(len(layout.low), bool)
    picked = []
    better = np.flatnonzero(gains > 1e-6)
    for k in better[np.argsort(-gains[better], kind="stable")]:
        ends = layout.chain[layout.place[[moves.a[k], moves.b[k]]]]
        if not touched[ends].any():
            touched[ends] = True
            picked.append(int(k))
    return picked


def _apply(
    layout: Layout, moves: Moves, picked: list[int]
) -> tuple[list[list[int]], np.ndarray]:
    """The new chains, and which tracklets are in chains that changed."""
    change = change_of(layout, moves.take(np.array(picked)))
    gone = np.zeros(len(layout.low), bool)
    gone[change.old] = True
    spans = zip(layout.low[~gone], layout.high[~gone], strict=True)
    chains = [layout.order[a:b].tolist() for a, b in spans]
    for move in change.parts:
        for chain in move:
            members = [k for a, b in chain for k in layout.order[a:b].tolist()]
            if members:
                chains.append(members)
    changed = np.zeros(len(layout.order), bool)
    changed[layout.order] = gone[layout.chain]
    return chains, changed


def _margins(layout: Layout, moves: Moves, gains: np.ndarray) -> np.ndarray:
    """For each tracklet, the least loss of a move that changes what it follows."""
    count = len(layout.order)
    least = np.full(count + 1, np.inf)
    follower = change_of(layout, moves).follower
    for slot in range(3):
        np.minimum.at(least, follower[:, slot], -gains)  # -1: the last, dropped.
    margin = np.empty(count)
    margin[layout.order] = least[:count]
    return np.maximum(margin, 0.0)
