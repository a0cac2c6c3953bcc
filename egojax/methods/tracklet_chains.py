"""Chains of tracklets laid out in a row, and the evidence of any new chain (host).

A chain is an object: tracklets that do not overlap, in time order. With running sums
along the row, the evidence of a chain that is put together from up to three stretches
of old ones costs the same whatever their lengths.
"""

from typing import NamedTuple

import numpy as np

from egojax.methods.tracklet_evidence import Model, link_terms, set_terms

BROKEN = 1e6  # Nats that a broken constraint costs.


class Bonds(NamedTuple):
    """A person's constraints on tracklets."""

    holds: np.ndarray  # bool (K, G): which must-link sets a tracklet holds.
    conflicts: np.ndarray  # bool (G, G): sets that may not share an object.


class Layout(NamedTuple):
    """All chains behind each other, with running sums."""

    order: np.ndarray  # (K,), tracklets.
    place: np.ndarray  # (K,), position of each tracklet in `order`.
    chain: np.ndarray  # (K,), chain at each position.
    low: np.ndarray  # (C,), positions of each chain: [low, high).
    high: np.ndarray
    sums: np.ndarray  # (K + 1, F), running.
    links: np.ndarray  # (K + 1,), running: of each position with the one before.
    solid_links: np.ndarray  # (K + 1,), running: of each solid with the solid before.
    next_solid: np.ndarray  # (K + 1,), first position of a solid at or behind this.
    last_solid: np.ndarray  # (K + 1,), last position of a solid before this; or -1.
    holds: np.ndarray  # (K + 1, G), running.
    values: np.ndarray  # (C,), evidence of each chain.


def lay_out(model: Model, bonds: Bonds, chains: list[list[int]]) -> Layout:
    """Puts chains in a row, and finds the evidence of each."""
    sizes = np.array([len(chain) for chain in chains])
    order = np.concatenate([np.array(chain, int) for chain in chains])
    high = np.cumsum(sizes)
    low = high - sizes
    chain = np.repeat(np.arange(len(sizes)), sizes)
    place = np.zeros(len(model.tracklets.first), int)
    place[order] = np.arange(len(order))
    link = np.zeros(len(order))
    link[1:] = _link_score(model, order[:-1], order[1:])
    link[low] = 0.0
    at = np.flatnonzero(model.solid[order])
    firm = np.zeros(len(order))
    if len(at):
        same = chain[at[1:]] == chain[at[:-1]]
        score = _solid_score(model, order[at[:-1]], order[at[1:]])
        firm[at[1:]] = np.where(same, score, 0.0)
    bounds = np.arange(len(order) + 1)
    behind = np.searchsorted(at, bounds)
    padded = np.concatenate([[-1], at, [len(order)]])
    layout = Layout(
        order,
        place,
        chain,
        low,
        high,
        _running(model.sums[order]),
        _running(link),
        _running(firm),
        padded[behind + 1],
        padded[behind],
        _running(bonds.holds[order].astype(float)),
        np.zeros(len(sizes)),
    )
    alone = np.zeros((len(sizes), 3, 2), int)
    alone[:, 0, 0], alone[:, 0, 1] = low, high
    return layout._replace(values=evaluate(model, bonds, layout, alone))


def _running(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, 0)])


def _link_score(model: Model, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Of neighbours, but for what `_solid_score` tells of them."""
    weights = model.config.weights
    place, same_id = link_terms(model, i, j)
    brief = ~(model.solid[i] & model.solid[j])
    place = np.where(brief, model.config.brief_weight * place, 0.0)
    return weights[0] * place + weights[3] * same_id + weights[4]


def _solid_score(model: Model, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Of solid tracklets that follow each other, brief ones between them or not."""
    return model.config.weights[0] * link_terms(model, i, j)[0]


def evaluate(
    model: Model, bonds: Bonds, layout: Layout, parts: np.ndarray
) -> np.ndarray:
    """Evidence (P,) of chains that are put together from stretches.

    Args:
      parts: int (P, 3, 2): stretches [low, high) of positions, empty ones allowed;
        -inf where one does not end before the next starts.
    """
    low, high = parts[..., 0], parts[..., 1]
    filled = high > low
    sums = (layout.sums[high] - layout.sums[low]).sum(1)
    looks, kinds = set_terms(model, sums)
    inner = layout.links[high] - layout.links[np.minimum(low + 1, high)]
    first, last = layout.next_solid[low], layout.last_solid[high]
    firm = first < high
    inner_firm = (
        layout.solid_links[high] - layout.solid_links[np.minimum(first + 1, high)]
    )
    inner = np.where(filled, inner, 0) + np.where(firm, inner_firm, 0)
    weights = model.config.weights
    total = weights[1] * looks + weights[2] * kinds + inner.sum(1)
    for a, b in ((0, 1), (1, 2), (0, 2)):
        i, j, meets = _junction(layout, high[:, a] - 1, low[:, b], filled, a, b)
        late = model.tracklets.first[j] <= model.tracklets.last[i]
        total[meets] += np.where(late, -np.inf, _link_score(model, i, j))
        i, j, meets = _junction(layout, last[:, a], first[:, b], firm, a, b)
        total[meets] += _solid_score(model, i, j)
    return total - BROKEN * _broken(bonds, layout, low, high)


def _junction(
    layout: Layout,
    left: np.ndarray,
    right: np.ndarray,
    filled: np.ndarray,
    a: int,
    b: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tracklets on either side of where stretch b follows stretch a, and where."""
    meets = filled[:, a] & filled[:, b]
    if b - a == 2:
        meets &= ~filled[:, 1]
    return layout.order[left[meets]], layout.order[right[meets]], meets


def _broken(
    bonds: Bonds, layout: Layout, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Must-link sets that have a share in the chain, and conflicts inside it."""
    if bonds.holds.shape[1] == 0:
        return np.zeros(len(low))
    has = (layout.holds[high] - layout.holds[low]).sum(1) > 0
    against = (has @ bonds.conflicts.astype(float)) * has
    return has.sum(1) + 0.5 * against.sum(1)
