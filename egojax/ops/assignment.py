"""Who goes with whom: soft and exact matching of tracks and observations.

A cost C (T, N) of T tracks (rows) and N observations (columns). An observation takes at
most one track and a track at most one observation; an observation that takes none costs
`alpha`. `+inf` forbids a pair; rows and columns that are not there are forbidden whole.

    minimise  <P, C> + alpha * (unmatched observations)       exact: `exact_matching`
              ... - epsilon * H(P)                            soft: `sinkhorn`
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from egojax.types import ArrayLike, typed

FORBIDDEN = 1e7  # A finite stand-in for +inf: the loops below subtract costs.
TINY = 1e-30  # Where nothing has room to move, the gradient is 0 and not 0 / 0.


class Plan(NamedTuple):
    """A soft matching."""

    matched: Float[Array, "T N"]  # Mass of each pair; rows sum to <= 1.
    unmatched: Float[Array, "N"]  # Mass of taking no track; columns sum to 1.


# ------------------------------------------------------------------------- soft


@typed
def sinkhorn(
    cost: Float[ArrayLike, "T N"],
    alpha: Float[ArrayLike, ""] | float,
    *,
    epsilon: float = 0.1,
    num_iters: int = 50,
    tolerance: float = 1e-2,
) -> Plan:
    """Entropic transport with a dustbin, in the log domain.

    Its gradient is that of the limit, whatever the number of iterations (implicit
    function theorem, one N x N solve), forward and in reverse.

    Args:
      cost: See above; may hold +inf.
      alpha: Cost of an observation without a track.
      epsilon: Temperature, in units of the cost. The plan tends to the exact matching
        as it goes to 0; the number of iterations that this takes grows as 1 / epsilon.
      num_iters: Iterations at most.
      tolerance: Stops once no potential moves by more than this, in units of epsilon.

    Source: Cuturi 2013; Sarlin et al. 2020 (SuperGlue), the dustbin.
    """
    # What a pair gains over the dustbin; the dustbins' own potentials are then 0.
    gain = (alpha - jnp.minimum(jnp.asarray(cost), FORBIDDEN)) / epsilon
    g = _column_potentials(gain, num_iters, tolerance)
    f = _potential(gain + g[None, :], 1)
    return Plan(jnp.exp(gain + f[:, None] + g[None, :]), jnp.exp(g))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _column_potentials(gain: Array, num_iters: int, tolerance: float) -> Array:
    def columns(f: Array) -> Array:
        return _potential(gain + f[:, None], 0)

    def moving(state):
        count, change, _ = state
        return (count < num_iters) & (change > tolerance)

    def body(state):
        count, _, f = state
        new = _potential(gain + columns(f)[None, :], 1)
        return count + 1, jnp.abs(new - f).max(initial=0.0), new

    start = jnp.int32(0), jnp.asarray(jnp.inf, gain.dtype), _first_prices(gain)
    return columns(lax.while_loop(moving, body, start)[2])


@_column_potentials.defjvp
def _column_potentials_jvp(num_iters, tolerance, primals, tangents):
    """Of the optimum, by the implicit function theorem.

    g minimises sum_i log(1 + sum_j exp(gain_ij + g_j)) + sum_j (exp(g_j) - g_j).
    """
    g = _column_potentials(*primals, num_iters, tolerance)

    def residual(gain: Array) -> tuple[Array, tuple[Array, Array]]:
        f = _potential(gain + g[None, :], 1)
        plan = jnp.exp(gain + f[:, None] + g[None, :])
        return plan.sum(0) + jnp.exp(g) - 1.0, (plan, f)

    _, change, (plan, f) = jax.jvp(residual, primals, tangents, has_aux=True)
    # The Hessian as a Laplacian, so that 1 - P is a sum and not a difference.
    shared = plan.T @ plan
    shared = shared - jnp.diag(jnp.diag(shared))
    diagonal = plan.T @ jnp.exp(f) + jnp.exp(g) + shared.sum(1) + TINY
    scale = lax.rsqrt(diagonal)
    hessian = jnp.eye(len(g), dtype=g.dtype) - scale[:, None] * shared * scale[None, :]
    return g, -scale * jnp.linalg.solve(hessian, scale * change)


def _potential(x: Array, axis: int) -> Array:
    """-log(1 + sum exp x): what is left to the dustbin, or to a row's slack."""
    top = lax.stop_gradient(x.max(axis, initial=0.0))
    total = jnp.exp(x - jnp.expand_dims(top, axis)).sum(axis) + jnp.exp(-top)
    return -(jnp.log(total) + top)


def _first_prices(gain: Array) -> Array:
    """Row potentials to start from: half of what the two keenest would pay at most.

    An observation's bid for its best row is what it gains over its second best. From 0
    the potentials would creep towards these values as the logarithm of the iterations.
    """
    mine = gain == gain.max(0, initial=-jnp.inf)[None, :]
    second = jnp.where(mine, 0.0, jnp.maximum(gain, 0.0)).max(0, initial=0.0)
    bid = jnp.where(mine, jnp.maximum(gain - second[None, :], 0.0), 0.0)
    top = bid.max(1, initial=0.0)
    runner_up = jnp.where(bid == top[:, None], 0.0, bid).max(1, initial=0.0)
    return -0.5 * (top + runner_up)


@typed
def round_plan(plan: Plan) -> Int[Array, "N"]:
    """The track of each observation, -1 = none: the best pair from both sides.

    A pair counts if it has more mass than the observation's dustbin, and is the largest
    of its row and of its column.
    """
    best = plan.matched.argmax(0)
    mass = plan.matched.max(0)
    mutual = plan.matched[best].argmax(1) == jnp.arange(plan.matched.shape[1])
    return jnp.where(mutual & (mass > plan.unmatched), best, -1).astype(jnp.int32)


# ------------------------------------------------------------------------- exact


class _Search(NamedTuple):
    """Shortest paths from one observation over the columns reached so far."""

    at: Array  # Observation that is expanded next; -1 = the sink was reached.
    low: Array  # Length of the path to it.
    distance: Array  # (W,)
    parent: Array  # (W,) observation before each column.
    done: Array  # bool (W,)
    sink: Array


@typed
def exact_matching(
    cost: Float[ArrayLike, "T N"], alpha: Float[ArrayLike, ""] | float
) -> Int[Array, "N"]:
    """The track of each observation, -1 = none, at the least total cost.

    Every observation first takes its cheapest track if nobody before it did; those that
    are left search a shortest augmenting path each, O(N (T + N)). Frames without
    conflict need no search.

    Source: Jonker and Volgenant 1987; Crouse 2016.
    """
    num_tracks, num_obs = cost.shape
    if num_obs == 0 or num_tracks == 0:
        return jnp.full(num_obs, -1, jnp.int32)
    cost = jnp.minimum(jnp.asarray(cost), FORBIDDEN)
    alpha = jnp.asarray(alpha, cost.dtype)
    order = jnp.arange(num_obs, dtype=jnp.int32)
    cheapest = cost.min(0)
    # The first row that holds it; argmin takes twice as long.
    rows = jnp.arange(num_tracks, dtype=jnp.int32)[:, None]
    first = jnp.where(cost == cheapest[None, :], rows, num_tracks).min(0)
    wish = jnp.where(cheapest < alpha, first, num_tracks + order)
    taken = (wish[:, None] == wish[None, :]) & (order[None, :] < order[:, None])
    holds = jnp.where(taken.any(1), -1, wish).astype(jnp.int32)
    # Columns here: the tracks, then a dustbin of its own for every observation.
    own = jnp.where(jnp.eye(num_obs, dtype=bool), alpha, FORBIDDEN)
    table = jnp.concatenate([cost.T, own.astype(cost.dtype)], axis=1)
    prices = jnp.minimum(cheapest, alpha), jnp.zeros(num_tracks + num_obs, cost.dtype)

    def augment(state: tuple) -> tuple:
        holds, u, v = state
        row = (holds < 0).argmax().astype(jnp.int32)
        found = _shortest_path(table, holds, u, v, row)
        # Prices stay feasible: what was reached moves by what is left to the sink.
        slack = jnp.where(found.done, found.low - found.distance, 0.0)
        u = u + jnp.where(holds >= 0, slack[jnp.maximum(holds, 0)], 0.0)
        u = u.at[row].add(found.low)
        return _flip(holds, found, row), u, v - slack

    holds, _, _ = lax.while_loop(lambda s: (s[0] < 0).any(), augment, (holds, *prices))
    return jnp.where(holds < num_tracks, holds, -1).astype(jnp.int32)


def _shortest_path(table: Array, holds: Array, u: Array, v: Array, row: Array):
    width = table.shape[1]
    columns = jnp.arange(width)

    def expand(s: _Search) -> _Search:
        reach = s.low + table[s.at] - u[s.at] - v
        closer = ~s.done & (reach < s.distance)
        distance = jnp.where(closer, reach, s.distance)
        parent = jnp.where(closer, s.at, s.parent)
        column = jnp.where(s.done, jnp.inf, distance).argmin().astype(jnp.int32)
        owned = holds == column
        at = jnp.where(owned.any(), owned.argmax(), -1).astype(jnp.int32)
        done = s.done | (columns == column)
        return _Search(at, distance[column], distance, parent, done, column)

    first = _Search(
        at=row,
        low=jnp.zeros((), table.dtype),
        distance=jnp.full(width, jnp.inf, table.dtype),
        parent=jnp.full(width, -1, jnp.int32),
        done=jnp.zeros(width, bool),
        sink=jnp.int32(0),
    )
    return lax.while_loop(lambda s: s.at >= 0, expand, first)


def _flip(holds: Array, found: _Search, row: Array) -> Array:
    """Everyone on the path gives up its column for the next one."""

    def body(state: tuple) -> tuple:
        holds, column, _ = state
        taker = found.parent[column]
        return holds.at[taker].set(column), holds[taker], taker

    start = (holds, found.sink, jnp.int32(-1))
    return lax.while_loop(lambda s: s[2] != row, body, start)[0]


# -------------------------------------------------------------------- confidence


@typed
def link_confidence(
    cost: Float[ArrayLike, "T N"],
    found: Int[ArrayLike, "N"],
    alpha: Float[ArrayLike, ""] | float,
) -> Float[Array, "N"]:
    """How sure each choice of a matching is, in (0, 1], costs being -log likelihoods.

    The choice (a track, or being new) against all others of this observation. Taking a
    track that another observation holds also costs what that one loses: the price of
    its next best choice.

    Args:
      cost: As it was matched; may hold +inf.
      found: The track of each observation, -1 = new.
      alpha: Cost of being new.
    """
    cost, found = jnp.asarray(cost), jnp.asarray(found)
    if cost.shape[0] == 0:
        return jnp.ones(cost.shape[1], cost.dtype)
    alpha = jnp.asarray(alpha, cost.dtype)
    mine = jnp.arange(cost.shape[0])[:, None] == found[None, :]
    paid = jnp.where(found >= 0, jnp.where(mine, cost, 0.0).sum(0), alpha)
    other = jnp.minimum(jnp.where(mine, jnp.inf, cost).min(0), alpha)
    price = jnp.where(mine, jnp.maximum(other - paid, 0.0)[None, :], 0.0).sum(1)
    low = jnp.minimum(paid, other)
    charged = cost + jnp.where(mine, 0.0, price[:, None])
    rivals = jnp.exp(low[None, :] - charged).sum(0)
    return jnp.exp(low - paid) / (rivals + jnp.exp(low - alpha))
