"""The online tracker: one step a frame over a table of tracks.

`start` makes an empty table, `step` takes the observations of a frame, `track_frames`
scans a block of frames; `methods.association.track_online` runs a whole video, growing
the table as it needs. Nothing is ever forgotten: a track that is out of sight keeps its
last place and stays a candidate, which is what carries identities through absence.

With `lag` > 0 an observation under a new 2D id may not take over a track that is out of
sight until its id has lived that long. Until then it has a provisional track of its
own; the decision is made once, on the evidence of all those frames, and renames them
(`TrackerState.alias`). Decisions are at most `lag` frames late.

Units: metres, frames. Labels and categories are dense integers, negative = unknown.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from egojax.methods.track_table import (
    Observations,
    TrackerConfig,
    TrackerState,
    merge,
    resolve,
    rows_of,
    start,
    write,
)
from egojax.ops import assignment
from egojax.ops import association as terms
from egojax.ops.association import CostWeights

__all__ = [
    "OFFICIAL",
    "Links",
    "Observations",
    "TrackerConfig",
    "TrackerState",
    "pair_costs",
    "resolve",
    "start",
    "step",
    "track_frames",
]

MUST = -1e4  # Cost of a pair that a person linked: below all sums of terms.
AFTER = 0.1 * assignment.FORBIDDEN  # Birth cost of gate=after: never worth it.

OFFICIAL = TrackerConfig(
    solver="exact",
    gate="after",
    appearance_update="recursive",
    label_memory="mode",
    noise_std=0.1,
)


class Links(NamedTuple):
    """What a frame's observations became."""

    track: Int[Array, "*T N"]  # Row of the table, before aliases; -1 = padding.
    confidence: Float[Array, "*T N"]  # That the link (or the birth) is right.


def pair_costs(
    state: TrackerState,
    obs: Observations,
    weights: CostWeights,
) -> terms.CostTerms:
    """The terms of every (track, observation) of one frame."""
    features = jnp.asarray(obs.features)
    cross = state.feature @ features.T
    squares = state.feature_square, (features**2).sum(-1)
    return terms.CostTerms(
        location=terms.location_cost(state.location, obs.locations, weights),
        appearance=terms.looks_cost(cross, *squares, weights),
        category=terms.mismatch_cost(state.category, obs.categories, weights.beta_c),
        label=terms.mismatch_cost(state.label, obs.labels, weights.beta_s),
    )


def step(
    state: TrackerState,
    obs: Observations,
    weights: CostWeights,
    conflicts: Bool[Array, "M M"],
    config: TrackerConfig,
    key: Array | None = None,
) -> tuple[TrackerState, Links]:
    """Takes the observations of one frame.

    Args:
      state: The table.
      obs: Of one frame (no leading time).
      weights: Of the costs.
      conflicts: Which sets of must-linked observations may not share a track.
      config: Static.
      key: Of the video, for the noise; not needed without.
    """
    cost = pair_costs(state, obs, weights).total
    if config.noise_std > 0:
        if key is None:
            raise ValueError(f"noise_std={config.noise_std} needs a key")
        noise = jax.random.normal(
            jax.random.fold_in(key, state.time), cost.shape, cost.dtype
        )
        cost = cost + config.noise_std * noise
    cost, must = _constrained(state, obs, conflicts, cost)
    allowed = _may_match(state, obs, config) | must
    cost = jnp.where(allowed & obs.valid[None, :], cost, jnp.inf)
    taken, confidence = _assign(cost, weights.alpha, config)
    state, track = write(state, obs, taken, weights, config)
    if config.lag > 0:
        state = _decide(state, obs.valid.shape[0], weights, conflicts, config)
    confidence = jnp.where(obs.valid, confidence, 0.0)
    return dataclasses.replace(state, time=state.time + 1), Links(track, confidence)


def _constrained(
    state: TrackerState, obs: Observations, conflicts: Array, cost: Array
) -> tuple[Array, Array]:
    """Costs with a person's constraints, and the pairs that must be."""
    if state.groups.shape[1] == 0:
        return cost, jnp.zeros(cost.shape, bool)
    group = jnp.maximum(obs.groups, 0)
    bound = (obs.groups >= 0)[None, :]
    holds = state.groups[:, group] & bound
    placed = holds.any(0)[None, :]
    against = state.groups.astype(cost.dtype) @ conflicts.astype(cost.dtype)
    barred = (against[:, group] > 0) & bound
    cost = jnp.where(holds, MUST, cost)
    return jnp.where((placed | barred) & ~holds, jnp.inf, cost), holds


def _alive(state: TrackerState) -> Array:
    rows = jnp.arange(state.capacity)
    return (rows < state.count) & (state.alias == rows)


def _may_match(state: TrackerState, obs: Observations, config: TrackerConfig) -> Array:
    alive = _alive(state)
    if config.lag == 0:
        return jnp.broadcast_to(alive[:, None], (len(alive), obs.valid.shape[0]))
    # A 2D id that has not lived yet stays with its own track, and takes nobody else's.
    settled = alive & (state.time - state.born >= config.lag)
    same = state.label[:, None] == obs.labels[None, :]
    known = (same & settled[:, None]).any(0)
    return alive[:, None] & (known[None, :] | same)


def _assign(
    cost: Array, alpha: Array | float, config: TrackerConfig
) -> tuple[Array, Array]:
    """The row of each observation (-1 = a new track), and how sure that is."""
    if config.solver == "sinkhorn":
        plan = assignment.sinkhorn(
            cost, alpha, epsilon=config.epsilon, num_iters=config.num_iters
        )
        found = assignment.round_plan(plan)
    else:
        birth = alpha if config.gate == "before" else AFTER
        found = assignment.exact_matching(cost, birth)
    paid = jnp.where(jnp.arange(len(cost))[:, None] == found[None, :], cost, 0.0)
    found = jnp.where(paid.sum(0) <= alpha, found, -1)
    return found, assignment.link_confidence(cost, found, alpha)


def _decide(
    state: TrackerState,
    num_obs: int,
    weights: CostWeights,
    conflicts: Array,
    config: TrackerConfig,
) -> TrackerState:
    """Tracks that have lived for `lag` frames: new ones, or lost ones come back?"""
    rows = jnp.arange(state.capacity)
    due = (state.born == state.time - config.lag) & (rows < state.count)
    row = due.argmax() + jnp.arange(num_obs)  # Born together, they lie together.
    mine = jnp.take(due, row, mode="fill", fill_value=False)
    row = jnp.where(mine, row, state.capacity)

    def settle() -> tuple[Array, Array]:
        young = Observations(
            locations=rows_of(state.location, row),
            features=rows_of(state.feature, row),
            labels=rows_of(state.label, row),
            categories=rows_of(state.category, row),
            valid=mine,
            groups=jnp.full(num_obs, -1, jnp.int32),
        )
        cost = pair_costs(state, young, weights).total
        # Whoever was seen while they lived is somebody else.
        free = state.seen[:, None] < rows_of(state.born, row)[None, :]
        held = state.groups.astype(cost.dtype)
        if held.shape[1]:
            barred = held @ conflicts.astype(cost.dtype) @ rows_of(held, row).T
            free &= barred == 0
        free &= _alive(state)[:, None] & mine[None, :]
        found, sure = _assign(jnp.where(free, cost, jnp.inf), weights.alpha, config)
        return jnp.where(mine, found, -1), sure

    def wait() -> tuple[Array, Array]:
        return jnp.full(num_obs, -1, jnp.int32), jnp.ones(num_obs, state.location.dtype)

    found, confidence = lax.cond(mine.any(), settle, wait)
    return merge(state, row, found, confidence, config)


# ------------------------------------------------------------------------- video


@functools.partial(jax.jit, static_argnames="config")
def track_frames(
    state: TrackerState,
    block: Observations,
    weights: CostWeights,
    conflicts: Bool[Array, "M M"],
    key: Array | None = None,
    *,
    config: TrackerConfig,
) -> tuple[TrackerState, Links]:
    """Scans `step` over a block of frames; `block` has a leading time axis."""

    # A frame comes through the carry. Read from the block where they are used, places
    # and labels would be sliced out of it for every pair, nine times the arithmetic.
    # Features are read once anyway, by the product.
    def one(
        carry: tuple[TrackerState, Observations], inputs: tuple[Observations, Array]
    ) -> tuple[tuple[TrackerState, Observations], Links]:
        (state, obs), (following, features) = carry, inputs
        obs = dataclasses.replace(obs, features=features)
        state, links = step(state, obs, weights, conflicts, config, key)
        return (state, following), links

    small = dataclasses.replace(block, features=jnp.zeros((len(block.valid), 0)))
    first = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), small)
    following = jax.tree.map(lambda leaf: jnp.roll(leaf, -1, axis=0), small)
    inputs = following, jnp.asarray(block.features)
    (state, _), links = lax.scan(one, (state, first), inputs)
    return state, links
