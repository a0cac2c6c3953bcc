"""Partitions tracklets into objects: chains in time of the highest evidence (host).

The search starts from the best set of links by pairs (an assignment of ends to starts)
and improves the evidence of whole chains by moves (`tracklet_moves`): those that gain
most and touch different chains are made at once, until none gains. Every round adds
evidence, so it ends.

Memory is O(tracklets x neighbours) but for blocks of bounded size.
"""

import itertools
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from egojax.methods.tracklet_chains import Bonds, Layout, evaluate, lay_out
from egojax.methods.tracklet_evidence import Model, pair_score
from egojax.methods.tracklet_moves import Moves, all_moves, change_of

BLOCK = 2_000_000  # Numbers in a temporary array.
ROUGH_PLACE = 0.08  # Metres: one sigma of a place in the rough choice of candidates.
DOUBTS = (2.0, 4.0, 8.0)  # Nats: links of less margin are opened and made again.
HOPELESS = -10.0  # Pairs of less evidence are not tried.


class Solution(NamedTuple):
    """A partition."""

    chains: list[list[int]]  # Each sorted in time.
    margin: np.ndarray  # (K,): nats lost by the best change of what comes before it.
    evidence: float


def search(model: Model, bonds: Bonds, neighbours: int) -> Solution:
    """Finds the partition of most evidence; deterministic.

    It starts from the best links by pairs; then the answer is taken apart where it is
    least sure, and improved again.

    Args:
      model: Of the clip.
      bonds: Constraints; sets of one `holds` column must not overlap in time.
      neighbours: Successors and predecessors of each tracklet that are tried.
    """
    i, j = candidates(model, neighbours)
    moves = all_moves(i, j, len(model.tracklets.first))
    gains = np.full(len(moves.kind), -np.inf)
    every = np.ones(len(model.tracklets.first), bool)
    free = Bonds(bonds.holds[:, :0], bonds.conflicts[:0, :0])
    chains = _first_links(model, i, j)
    best, gains = _improve(model, free, moves, chains, gains, every)
    if bonds.holds.any():
        chains = _obey(best.chains, bonds)
        best, gains = _improve(model, bonds, moves, chains, gains, every)
    for doubt in DOUBTS:
        chains, opened = _take_apart(best, bonds, doubt)
        found, after = _improve(model, bonds, moves, chains, gains, opened)
        if found.evidence > best.evidence + 1e-6:
            best, gains = found, after
    return best


def _improve(
    model: Model,
    bonds: Bonds,
    moves: Moves,
    chains: list[list[int]],
    gains: np.ndarray,
    changed: np.ndarray,
) -> tuple[Solution, np.ndarray]:
    """Makes moves until none gains.

    Args:
      model: Of the clip.
      bonds: Constraints.
      moves: All of them.
      chains: To start from.
      gains: Of the moves, but for those that touch ...
      changed: ... bool (K,), these tracklets.

    Returns:
      The answer, and the gains of all moves from there.
    """
    gains = gains.copy()
    while True:
        layout = lay_out(model, bonds, chains)
        stale = np.flatnonzero(changed[moves.a] | changed[moves.b])
        gains[stale] = _gains(model, bonds, layout, moves.take(stale))
        picked = _compatible(layout, moves, gains)
        if picked:
            chains, changed = _apply(layout, moves, picked)
            continue
        merged = _merge_bound(model, bonds, layout, chains)
        if len(merged) == len(chains):
            margin = _margins(layout, moves, gains)
            evidence = float(layout.values.sum())
            return Solution(chains, margin, evidence), gains
        chains, changed = merged, np.ones(len(changed), bool)


def _merge_bound(
    model: Model, bonds: Bonds, layout: Layout, chains: list[list[int]]
) -> list[list[int]]:
    """Merges chains with must-linked tracklets with others, where that gains most.

    Such a chain cannot be cut, and so would never meet a chain of the same object whose
    frames interleave with its own.
    """
    first, last = model.tracklets.first, model.tracklets.last
    held = [n for n, chain in enumerate(chains) if bonds.holds[chain].any()]
    tries, pairs = [], []
    for m in held:
        for n, other in enumerate(chains):
            apart = last[other[-1]] < first[chains[m][0]]
            apart |= first[other[0]] > last[chains[m][-1]]
            if n == m or apart:
                continue
            both = sorted(chains[m] + other, key=lambda k: first[k])
            if (first[both[1:]] > last[both[:-1]]).all():
                tries.append(both)
                pairs.append((m, n))
    if not tries:
        return chains
    gain = lay_out(model, bonds, tries).values - layout.values[np.array(pairs)].sum(1)
    gone: set[int] = set()
    out = []
    for k in np.argsort(-gain, kind="stable"):
        if gain[k] > 1e-6 and gone.isdisjoint(pairs[k]):
            gone.update(pairs[k])
            out.append(tries[k])
    return out + [chain for n, chain in enumerate(chains) if n not in gone]


def _take_apart(
    found: Solution, bonds: Bonds, doubt: float
) -> tuple[list[list[int]], np.ndarray]:
    """Cuts all links of a margin below `doubt`, but for those of must-linked sets.

    Returns:
      The chains, and which tracklets (K,) are in chains that were cut.
    """
    chains, opened = [], np.zeros(len(found.margin), bool)
    for chain in found.chains:
        cuts = [n for n, k in enumerate(chain) if n and found.margin[k] < doubt]
        if bonds.holds[chain].any():
            cuts = []
        opened[chain] = bool(cuts)
        bounds = itertools.pairwise([0, *cuts, len(chain)])
        chains += [chain[a:b] for a, b in bounds]
    return chains, opened


def candidates(model: Model, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (i, j) worth a try: each tracklet's best successors and predecessors.

    All pairs are compared, roughly, a block of rows at a time; and each tracklet with
    the next of its 2D id.
    """
    a = model.tracklets
    every = np.arange(len(a.first))
    size = max(1, BLOCK // (8 * max(1, len(every))))
    by_id = np.lexsort((a.first, a.segment_id))
    same = a.segment_id[by_id[1:]] == a.segment_id[by_id[:-1]]
    found = [np.stack([by_id[:-1][same], by_id[1:][same]])]
    for low in range(0, len(every), size):
        block = every[low : low + size]
        for forward in (True, False):
            score = _rough_score(model, block, forward)
            keep = min(neighbours, score.shape[1])
            top = np.argpartition(-score, keep - 1, axis=1)[:, :keep]
            good = np.isfinite(np.take_along_axis(score, top, axis=1))
            row, slot = np.nonzero(good)
            pair = np.stack([block[row], top[row, slot]])
            found.append(pair if forward else pair[::-1])
    i, j = np.unique(np.concatenate(found, axis=1), axis=1)
    after = a.first[j] > a.last[i]
    hopeful = after & (pair_score(model, i, j) > HOPELESS)
    return i[hopeful], j[hopeful]


def _rough_score(model: Model, block: np.ndarray, forward: bool) -> np.ndarray:
    """Score (B, K), float32, of all successors (or predecessors) of some tracklets.

    Of many that fit, as the later sightings of a thing at rest, the next in time are
    the best: the gap counts, though it is no evidence.
    """
    a, looks, weights = model.tracklets, model.looks, model.config.weights
    here, there = (a.end, a.start) if forward else (a.start, a.end)
    square = _squares(here[block, 1] - model.center, there[:, 1] - model.center)
    square = np.where(np.isfinite(square), square, ROUGH_PLACE**2)
    score = -np.minimum(square / (2 * ROUGH_PLACE**2), 6.0) * weights[0]
    own = (looks.own[block][:, None] + looks.own).astype(np.float32)
    wide = own + np.float32(2 * looks.alike)
    middle = a.feature.mean(0)
    apart = _squares(a.feature[block] - middle, a.feature - middle)
    score -= weights[1] * 0.5 * apart * (1 / own - 1 / wide)
    score += weights[1] * 0.5 * a.feature.shape[1] * np.log(wide / own)
    score -= weights[2] * 2.0 * (a.category[block][:, None] != a.category)
    late, soon = (a.last[block], a.first) if forward else (a.first[block], a.last)
    gap = soon - late[:, None] if forward else late[:, None] - soon
    score -= np.log(np.maximum(gap, 1).astype(np.float32))
    return np.where(gap > 0, score, -np.inf)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float32), b.astype(np.float32)
    return (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T


def _obey(chains: list[list[int]], bonds: Bonds) -> list[list[int]]:
    """Takes the sets that break a constraint out, each as a chain of its own."""
    times = np.array([bonds.holds[chain].any(0) for chain in chains])
    meets = times @ bonds.conflicts.astype(int) > 0
    bad = (times.sum(0) > 1) | (times & meets).any(0)
    taken = np.any(bonds.holds[:, bad], axis=1)
    left = [[k for k in chain if not taken[k]] for chain in chains]
    sets = [np.flatnonzero(holders).tolist() for holders in bonds.holds[:, bad].T]
    return [chain for chain in left + sets if chain]


def _first_links(model: Model, i: np.ndarray, j: np.ndarray) -> list[list[int]]:
    """Joins tracklets by the best assignment of ends to starts."""
    count = len(model.tracklets.first)
    score = pair_score(model, i, j)
    i, j, score = i[score > 0], j[score > 0], score[score > 0]
    # Every end may also end for good: a column of its own at no gain.
    every = np.arange(count)
    rows = np.concatenate([i, every])
    columns = np.concatenate([j, count + every])
    gain = np.concatenate([score, np.full(count, 1e-9)])
    table = sparse.csr_matrix((gain, (rows, columns)), (count, 2 * count))
    left, right = csgraph.min_weight_full_bipartite_matching(table, maximize=True)
    follows = {int(a): int(b) for a, b in zip(left, right, strict=True) if b < count}
    chains = []
    for head in sorted(set(range(count)) - set(follows.values())):
        chain = [head]
        while chain[-1] in follows:
            chain.append(follows[chain[-1]])
        chains.append(chain)
    return chains


# ----------------------------------------------------------------------- improve


def _gains(model: Model, bonds: Bonds, layout: Layout, moves: Moves) -> np.ndarray:
    """What each move adds to the total evidence; -inf where it makes no sense."""
    gains = np.full(len(moves.kind), -np.inf)
    size = max(1, BLOCK // (9 * model.sums.shape[1]))
    for low in range(0, len(gains), size):
        change = change_of(layout, moves.take(slice(low, low + size)))
        rows = np.flatnonzero(change.valid)
        parts = change.parts[rows].reshape(-1, 3, 2)
        there = (parts[..., 1] > parts[..., 0]).any(1)
        new = np.zeros(len(parts))
        new[there] = evaluate(model, bonds, layout, parts[there])
        new = new.reshape(-1, 3).sum(1)
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
