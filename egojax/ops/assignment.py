"""Who goes with whom: soft and exact matching of tracks and observations.

A cost C (T, N) of T tracks (rows) and N observations (columns). An observation takes at
most one track and a track at most one observation; an observation that takes none costs
`alpha`. `+inf` forbids a pair; rows and columns that are not there are forbidden whole.

    minimise  <P, C> + alpha * (unmatched observations)       exact: `exact_matching`
              ... - epsilon * H(P)                            soft: `sinkhorn`
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from egojax.types import typed

FORBIDDEN = 1e7  # A finite stand-in for +inf: the loops below subtract costs.


class Plan(NamedTuple):
    """A soft matching."""

    matched: Float[Array, "T N"]  # Mass of each pair; rows sum to <= 1.
    unmatched: Float[Array, "N"]  # Mass of taking no track; columns sum to 1.


@typed
def sinkhorn(
    cost: Float[Array, "T N"],
    alpha: Float[Array, ""] | float,
    *,
    epsilon: float = 0.1,
    num_iters: int = 50,
    tolerance: float = 1e-3,
) -> Plan:
    """Entropic transport with a dustbin, in the log domain.

    Args:
      cost: See above; may hold +inf.
      alpha: Cost of an observation without a track.
      epsilon: Temperature, in units of the cost. The plan tends to the exact matching
        as it goes to 0; the number of iterations that this takes grows as 1 / epsilon.
      num_iters: Iterations at most.
      tolerance: Stops once no potential moves by more than this, in units of epsilon.
        0 runs all iterations in a scan, which can be differentiated in reverse.

    Source: section 2.8.5 of the EgoSeg3D spec; Cuturi 2013; Sarlin et al. 2020
    (SuperGlue), the dustbin.
    """
    score = -jnp.minimum(cost, FORBIDDEN) / epsilon
    birth = -jnp.asarray(alpha, cost.dtype) / epsilon

    def half(f: Array) -> Array:
        """Column potentials from row potentials; the dustbin row has potential 0."""
        total = jnp.logaddexp(_logsumexp(score + f[:, None], 0), birth)
        return -total

    def update(f: Array) -> Array:
        """Row potentials; the slack column lets a row stay without observation."""
        g = half(f)
        return -jnp.logaddexp(_logsumexp(score + g[None, :], 1), 0.0)

    first = jnp.zeros(cost.shape[0], cost.dtype)
    if tolerance > 0:
        f = _until_still(update, first, num_iters, tolerance)
    else:
        f, _ = lax.scan(lambda f, _: (update(f), None), first, length=num_iters)
    g = half(f)
    return Plan(jnp.exp(score + f[:, None] + g[None, :]), jnp.exp(birth + g))


def _logsumexp(x: Array, axis: int) -> Array:
    top = lax.stop_gradient(x.max(axis))
    safe = jnp.expand_dims(top, axis)
    return jnp.log(jnp.exp(x - safe).sum(axis)) + top


def _until_still(update, first: Array, num_iters: int, tolerance: float) -> Array:
    def moving(state):
        count, change, _ = state
        return (count < num_iters) & (change > tolerance)

    def body(state):
        count, _, f = state
        new = update(f)
        return count + 1, jnp.abs(new - f).max(), new

    big = jnp.asarray(jnp.inf, first.dtype)
    return lax.while_loop(moving, body, (jnp.int32(0), big, first))[2]


@typed
def round_plan(plan: Plan) -> Int[Array, "N"]:
    """The track of each observation, -1 = none: the best pair from both sides.

    A pair counts if it has more mass than the observation's dustbin, and is the largest
    of its row and of its column.
    """
    best = plan.matched.argmax(0)
    mass = jnp.take_along_axis(plan.matched, best[None, :], 0)[0]
    mutual = plan.matched[best].argmax(1) == jnp.arange(plan.matched.shape[1])
    return jnp.where(mutual & (mass > plan.unmatched), best, -1).astype(jnp.int32)


@typed
def exact_matching(
    cost: Float[Array, "T N"], alpha: Float[Array, ""] | float
) -> Int[Array, "N"]:
    """The track of each observation, -1 = none, at the least total cost.

    Frames without conflict, where every observation's cheapest track is its own, need
    no search; the others take shortest augmenting paths, O(N^2 (T + N)).

    Source: Jonker and Volgenant 1987; Crouse 2016.
    """
    num_tracks, num_obs = cost.shape
    if num_obs == 0 or num_tracks == 0:
        return jnp.full(num_obs, -1, jnp.int32)
    cost = jnp.minimum(cost, FORBIDDEN)
    best = cost.argmin(0)
    wanted = cost.min(0) < alpha
    takers = jnp.zeros(num_tracks, jnp.int32).at[best].add(wanted.astype(jnp.int32))
    easy = jnp.where(wanted, best, -1).astype(jnp.int32)
    return lax.cond(takers.max() > 1, lambda: _augment(cost, alpha), lambda: easy)


def _augment(cost: Array, alpha: Array | float) -> Array:
    """Shortest augmenting paths, one observation after the other.

    Columns here: the T tracks, then a dustbin of its own for every observation.
    """
    num_tracks, num_obs = cost.shape
    own = jnp.where(jnp.eye(num_obs, dtype=bool), alpha, FORBIDDEN)
    table = jnp.concatenate([cost.T, own.astype(cost.dtype)], axis=1)
    width = num_tracks + num_obs

    def add(row, state):
        u, v, owner = state

        def search(s):
            distance, parent, done, at, low, _ = s
            reach = low + table[at] - u[at] - v
            closer = ~done & (reach < distance)
            distance = jnp.where(closer, reach, distance)
            parent = jnp.where(closer, at, parent)
            open_ = jnp.where(done, jnp.inf, distance)
            column = open_.argmin().astype(jnp.int32)
            done = done.at[column].set(True)
            low = open_[column]
            return distance, parent, done, owner[column], low, column

        start = (
            jnp.full(width, jnp.inf, cost.dtype),
            jnp.full(width, -1, jnp.int32),
            jnp.zeros(width, bool),
            jnp.int32(row),
            jnp.zeros((), cost.dtype),
            jnp.int32(0),
        )
        distance, parent, done, _, low, sink = lax.while_loop(
            lambda s: s[3] >= 0, search, start
        )
        # Potentials stay feasible: scanned columns move by what is left to the sink.
        slack = jnp.where(done, low - distance, 0.0)
        moved = jnp.where(owner >= 0, slack, 0.0)
        u = u.at[jnp.maximum(owner, 0)].add(moved).at[row].add(low)
        v = v - slack

        def flip(s):
            owner, column = s
            taker = parent[column]
            before = jnp.argmax(
                (owner == taker) & (jnp.arange(width) != column)
            ).astype(jnp.int32)
            had = (owner == taker).any()
            owner = owner.at[column].set(taker)
            nxt = jnp.where((taker == row) | ~had, -1, before).astype(jnp.int32)
            return owner, nxt

        owner, _ = lax.while_loop(
            lambda s: s[1] >= 0, flip, (owner, sink.astype(jnp.int32))
        )
        return u, v, owner

    zero = jnp.zeros(num_obs, cost.dtype), jnp.zeros(width, cost.dtype)
    owner = jnp.full(width, -1, jnp.int32)
    _, _, owner = lax.fori_loop(jnp.int32(0), jnp.int32(num_obs), add, (*zero, owner))
    found = jnp.full(num_obs, -1, jnp.int32)
    tracks = jnp.arange(num_tracks, dtype=jnp.int32)
    return found.at[
        jnp.where(owner[:num_tracks] >= 0, owner[:num_tracks], num_obs)
    ].set(tracks, mode="drop")
