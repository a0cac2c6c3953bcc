"""The online tracker: a table of tracks, and one step a frame.

`start` makes an empty table, `step` takes the observations of a frame, `track_frames`
scans a block of frames, and `track_clip` runs a whole video, growing the table as it
needs. Nothing is ever forgotten: a track that is out of sight keeps its last place and
stays a candidate, which is what carries identities through absence.

With `lag` > 0 an observation under a new 2D id may not take over a track that is out of
sight until its id has lived that long. Until then it has a provisional track of its
own; the decision is made once, on the evidence of all those frames, and renames them
(`TrackerState.alias`). Decisions are at most `lag` frames late.

Units: metres, frames. Labels and categories are dense integers, negative = unknown.
"""

import dataclasses
import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from egojax.ops import assignment
from egojax.ops import association as terms
from egojax.ops.association import CostWeights
from egojax.types import ArrayLike

LABEL_WINDOW = 100  # Past 2D ids of which the mode is compared.
BUCKETS = (64, 256, 1024, 4096)  # Sizes of the table; each is compiled once.


@dataclasses.dataclass(frozen=True)
class TrackerConfig:
    """What is compiled in. Numbers that are weights are in `CostWeights`."""

    solver: Literal["sinkhorn", "exact"] = "sinkhorn"
    gate: Literal["before", "after"] = "before"  # Of the assignment; after = published.
    appearance_update: Literal["mean", "recursive", "ema"] = "mean"
    gamma: int = 100  # Window of the appearance, in observations.
    label_memory: Literal["last", "mode"] = "last"  # Compared 2D id; mode = published.
    lag: int = 0  # Frames that a new 2D id has to live before it may take over.
    epsilon: float = 0.1  # Temperature of the soft assignment.
    num_iters: int = 50
    noise_std: float = 0.0  # Added to every cost; 0.1 = published.


OFFICIAL = TrackerConfig(
    solver="exact",
    gate="after",
    appearance_update="recursive",
    label_memory="mode",
    noise_std=0.1,
)


@struct.dataclass
class Observations:
    """Segments of T frames, padded to N a frame."""

    locations: Float[ArrayLike, "*T N 3"]  # NaN = unknown.
    features: Float[ArrayLike, "*T N D"]
    labels: Int[ArrayLike, "*T N"]  # Rank of the 2D id among all of the video.
    categories: Int[ArrayLike, "*T N"]
    valid: Bool[ArrayLike, "*T N"]
    groups: Int[ArrayLike, "*T N"]  # Set of must-linked observations; -1 = none.


@struct.dataclass
class TrackerState:
    """The table: K tracks, of which `count` are in use."""

    count: Int[Array, ""]
    time: Int[Array, ""]
    overflow: Bool[Array, ""]  # A track found no room; the block must be run again.
    location: Float[Array, "K 3"]
    feature: Float[Array, "K D"]
    memory: Float[Array, "K G D"]  # Past evolved features; G = 0 unless recursive.
    label: Int[Array, "K"]
    label_ring: Int[Array, "K L"]  # L = 0 unless the mode is compared.
    category: Int[Array, "K"]
    category_count: Int[Array, "K C"]
    num_obs: Int[Array, "K"]
    born: Int[Array, "K"]  # Frame.
    seen: Int[Array, "K"]  # Last frame.
    alias: Int[Array, "K"]  # The track that this one turned out to be; itself if none.
    alias_confidence: Float[Array, "K"]
    groups: Bool[Array, "K M"]  # Which must-linked sets it holds.


class Links(NamedTuple):
    """What a frame's observations became."""

    track: Int[Array, "*T N"]  # Row of the table, before aliases; -1 = padding.
    confidence: Float[Array, "*T N"]  # Mass of the link (or of the birth).


def start(
    capacity: int,
    feature_dim: int,
    num_categories: int,
    num_groups: int,
    config: TrackerConfig,
) -> TrackerState:
    """An empty table for `capacity` tracks."""
    k = capacity
    ring = LABEL_WINDOW if config.label_memory == "mode" else 0
    past = config.gamma if config.appearance_update == "recursive" else 0
    dtype = jnp.result_type(float)
    ints = functools.partial(jnp.full, dtype=jnp.int32)
    return TrackerState(
        count=jnp.int32(0),
        time=jnp.int32(0),
        overflow=jnp.asarray(False),
        location=jnp.full((k, 3), jnp.nan, dtype),
        feature=jnp.zeros((k, feature_dim), dtype),
        memory=jnp.zeros((k, past, feature_dim), dtype),
        label=ints(k, -1),
        label_ring=ints((k, ring), -1),
        category=ints(k, -1),
        category_count=ints((k, num_categories), 0),
        num_obs=ints(k, 0),
        born=ints(k, 0),
        seen=ints(k, -1),
        alias=jnp.arange(k, dtype=jnp.int32),
        alias_confidence=jnp.ones(k, dtype),
        groups=jnp.zeros((k, num_groups), bool),
    )


def pair_costs(
    state: TrackerState, obs: Observations, weights: CostWeights
) -> terms.CostTerms:
    """The terms of every (track, observation) of one frame."""
    return terms.CostTerms(
        location=terms.location_cost(state.location, obs.locations, weights),
        appearance=terms.appearance_cost(state.feature, obs.features, weights),
        category=terms.mismatch_cost(state.category, obs.categories, weights.beta_c),
        label=terms.mismatch_cost(state.label, obs.labels, weights.beta_s),
    )


def step(
    state: TrackerState,
    obs: Observations,
    weights: CostWeights,
    conflicts: Bool[Array, "M M"],
    config: TrackerConfig,
    key: Array,
) -> tuple[TrackerState, Links]:
    """Takes the observations of one frame.

    Args:
      state: The table.
      obs: Of one frame (no leading time).
      weights: Of the costs.
      conflicts: Which sets of must-linked observations may not share a track.
      config: Static.
      key: For the noise.
    """
    cost = pair_costs(state, obs, weights).total
    if config.noise_std > 0:
        noise = jax.random.normal(key, cost.shape, cost.dtype)
        cost = cost + config.noise_std * noise
    cost, must = _constrained(state, obs, conflicts, cost)
    allowed = _may_match(state, obs, config) | must
    cost = jnp.where(allowed & obs.valid[None, :], cost, jnp.inf)
    taken, confidence = _assign(cost, weights.alpha, config)
    state, track = _update(state, obs, taken, weights, config)
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
    cost = jnp.where(holds, -assignment.FORBIDDEN, cost)
    return jnp.where((placed & ~holds) | (barred & ~holds), jnp.inf, cost), holds


def _may_match(state: TrackerState, obs: Observations, config: TrackerConfig) -> Array:
    rows = jnp.arange(state.label.shape[0])
    alive = (rows < state.count) & (state.alias == rows)
    if config.lag == 0:
        return jnp.broadcast_to(alive[:, None], (len(rows), obs.valid.shape[0]))
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
        # Only the N cheapest rows of a column can be in its optimal matching.
        rows = _candidates(cost)
        plan = assignment.sinkhorn(
            cost[rows], alpha, epsilon=config.epsilon, num_iters=config.num_iters
        )
        found = assignment.round_plan(plan)
        found = jnp.where(found >= 0, rows[found], -1)
    else:
        limit = alpha if config.gate == "before" else 0.1 * assignment.FORBIDDEN
        found = assignment.exact_matching(cost, limit)
    picked = jnp.take_along_axis(cost, jnp.maximum(found, 0)[None, :], 0)[0]
    found = jnp.where((found >= 0) & (picked <= alpha), found, -1)
    paid = jnp.where(found >= 0, picked, alpha)
    everything = jax.nn.logsumexp(-cost, axis=0)
    return found, jnp.exp(-paid - jnp.logaddexp(everything, -jnp.asarray(alpha)))


def _candidates(cost: Array) -> Array:
    """Rows that hold an optimal matching of all columns, distinct.

    Nobody needs more than its N cheapest rows: at most N - 1 of them can be taken.
    """
    num_tracks, num_obs = cost.shape
    if num_tracks <= num_obs * num_obs:
        return jnp.arange(num_tracks)
    best = lax.top_k(-cost.T, num_obs)[1].reshape(-1)
    wanted = jnp.zeros(num_tracks, jnp.int32).at[best].set(1)
    return lax.top_k(wanted, num_obs * num_obs)[1]


# ------------------------------------------------------------------------- update


def _update(
    state: TrackerState,
    obs: Observations,
    found: Array,
    weights: CostWeights,
    config: TrackerConfig,
) -> tuple[TrackerState, Array]:
    """Writes the observations into their rows, new ones behind the last."""
    capacity = state.label.shape[0]
    births = obs.valid & (found < 0)
    fresh = state.count + jnp.cumsum(births) - 1
    row = jnp.where(births, fresh, found).astype(jnp.int32)
    row = jnp.where(obs.valid, row, capacity)  # Dropped by the scatters below.
    total = state.count + births.sum()
    first = births | (jnp.take(state.num_obs, row, mode="clip") == 0)
    num = jnp.where(first, 0, jnp.take(state.num_obs, row, mode="clip")) + 1
    old = jnp.take(state.location, row, axis=0, mode="clip")
    feature, memory = _evolve(state, obs, row, num, config)
    categories, category = _vote(state, obs, row)
    ring, label = _remember_label(state, obs, row, num, config)

    def put(table: Array, rows: Array) -> Array:
        return table.at[row].set(rows, mode="drop")

    groups = state.groups
    if groups.shape[1]:
        joined = jax.nn.one_hot(obs.groups, groups.shape[1], dtype=bool)
        groups = groups.at[row].max(joined, mode="drop")
    state = dataclasses.replace(
        state,
        count=jnp.minimum(total, capacity).astype(jnp.int32),
        overflow=state.overflow | (total > capacity),
        location=put(state.location, _move(old, obs.locations, weights)),
        feature=put(state.feature, feature),
        memory=memory,
        label=put(state.label, label),
        label_ring=ring,
        category=put(state.category, category),
        category_count=categories,
        num_obs=put(state.num_obs, num.astype(jnp.int32)),
        born=state.born.at[jnp.where(births, row, capacity)].set(
            state.time, mode="drop"
        ),
        seen=put(state.seen, jnp.broadcast_to(state.time, row.shape)),
        groups=groups,
    )
    return state, jnp.where(obs.valid & (row < capacity), row, -1)


def _move(old: Array, new: ArrayLike, weights: CostWeights) -> Array:
    """The track's place: the last one, smoothed while it stays where it was."""
    known_old = jnp.isfinite(old).all(-1, keepdims=True)
    known_new = jnp.isfinite(new).all(-1, keepdims=True)
    far = jnp.sqrt(((new - old) ** 2).sum(-1, keepdims=True)) > weights.moved_by
    gain = jnp.where(far, 1.0, weights.location_gain)
    blend = old + gain * (new - old)
    return jnp.where(known_new, jnp.where(known_old, blend, new), old)


def _evolve(
    state: TrackerState,
    obs: Observations,
    row: Array,
    num: Array,
    config: TrackerConfig,
) -> tuple[Array, Array]:
    """The evolved feature of each observation's track, and the memory of them."""
    new = jnp.asarray(obs.features)
    k = num[:, None].astype(new.dtype)
    old = jnp.take(state.feature, row, axis=0, mode="clip")
    if config.appearance_update != "recursive":
        window = jnp.minimum(k, config.gamma)
        share = (
            1.0 / window if config.appearance_update == "mean" else 1.0 / config.gamma
        )
        share = jnp.where(k == 1, 1.0, share)
        return old + share * (new - old), state.memory
    # Published: the mean of the last evolved features (not of the raw ones) and of r.
    past = jnp.take(state.memory, row, axis=0, mode="clip")
    held = jnp.minimum(num - 1, config.gamma)
    keep = (jnp.arange(config.gamma)[None, :] < held[:, None])[..., None]
    evolved = (jnp.where(keep, past, 0.0).sum(1) + new) / (held[:, None] + 1)
    slot = (num - 1) % config.gamma
    return evolved, state.memory.at[row, slot].set(evolved, mode="drop")


def _vote(state: TrackerState, obs: Observations, row: Array) -> tuple[Array, Array]:
    """Counts of categories, and the most frequent one; ties go to the smallest."""
    known = obs.categories >= 0
    at = jnp.where(known, row, state.label.shape[0])
    counts = state.category_count.at[at, jnp.maximum(obs.categories, 0)].add(
        1, mode="drop"
    )
    mine = jnp.take(counts, row, axis=0, mode="clip")
    return counts, jnp.where(mine.max(-1) > 0, mine.argmax(-1), -1).astype(jnp.int32)


def _remember_label(
    state: TrackerState,
    obs: Observations,
    row: Array,
    num: Array,
    config: TrackerConfig,
) -> tuple[Array, Array]:
    """The 2D id to compare next time: the last one, or the mode of the last 100."""
    if config.label_memory == "last":
        return state.label_ring, jnp.asarray(obs.labels, jnp.int32)
    slot = (num - 1) % LABEL_WINDOW
    ring = state.label_ring.at[row, slot].set(obs.labels, mode="drop")
    mine = jnp.take(ring, row, axis=0, mode="clip")
    held = jnp.arange(LABEL_WINDOW)[None, :] < num[:, None]
    same = (mine[:, :, None] == mine[:, None, :]) & held[:, None, :]
    votes = jnp.where(held, same.sum(-1), -1)
    best = votes == votes.max(-1, keepdims=True)
    big = jnp.iinfo(jnp.int32).max
    return ring, jnp.where(best, mine, big).min(-1).astype(jnp.int32)


# ------------------------------------------------------------------------- lag


def _decide(
    state: TrackerState,
    num_obs: int,
    weights: CostWeights,
    conflicts: Array,
    config: TrackerConfig,
) -> TrackerState:
    """Tracks that have lived for `lag` frames: new ones, or lost ones come back?"""
    capacity = state.label.shape[0]
    due = (state.born == state.time - config.lag) & (state.num_obs > 0)
    due &= jnp.arange(capacity) < state.count
    row = due.argmax() + jnp.arange(num_obs)  # Born together, they lie together.
    mine = jnp.take(due, row, mode="fill", fill_value=False)
    row = jnp.where(mine, row, capacity)

    def take(table: Array) -> Array:
        return jnp.take(table, row, axis=0, mode="clip")

    young = Observations(
        locations=take(state.location),
        features=take(state.feature),
        labels=take(state.label),
        categories=take(state.category),
        valid=mine,
        groups=jnp.full(num_obs, -1, jnp.int32),
    )
    rows = jnp.arange(capacity)
    old = (rows < state.count) & (state.alias == rows)
    gone = state.seen[:, None] < take(state.born)[None, :]
    cost = pair_costs(state, young, weights).total
    held = state.groups.astype(cost.dtype)
    if held.shape[1]:
        against = (
            held
            @ conflicts.astype(cost.dtype)
            @ take(state.groups).astype(cost.dtype).T
        )
        gone &= against == 0
    cost = jnp.where(old[:, None] & gone & mine[None, :], cost, jnp.inf)
    found, confidence = _assign(cost, weights.alpha, config)
    return _merge(state, row, jnp.where(mine, found, -1), confidence, config)


def _merge(
    state: TrackerState,
    row: Array,
    into: Array,
    confidence: Array,
    config: TrackerConfig,
) -> TrackerState:
    """Pours the rows into others, which take over their 2D ids."""
    capacity = state.label.shape[0]
    merged = into >= 0
    target = jnp.where(merged, into, capacity)
    source = jnp.where(merged, row, capacity)

    def pour(table: Array, values: Array) -> Array:
        return table.at[target].set(values, mode="drop")

    def take(table: Array, at: Array) -> Array:
        return jnp.take(table, at, axis=0, mode="clip")

    n_old, n_new = take(state.num_obs, target), take(state.num_obs, source)
    w = (n_new / jnp.maximum(jnp.minimum(n_old, config.gamma) + n_new, 1))[:, None]
    old, new = take(state.feature, target), take(state.feature, source)
    counts = state.category_count.at[target].add(
        take(state.category_count, source), mode="drop"
    )
    votes = take(counts, target)
    best = jnp.where(votes.max(-1) > 0, votes.argmax(-1), -1).astype(jnp.int32)
    place, was = take(state.location, source), take(state.location, target)
    place = jnp.where(jnp.isfinite(place).all(-1, keepdims=True), place, was)
    return dataclasses.replace(
        state,
        location=pour(state.location, place),
        feature=pour(state.feature, (1 - w) * old + w * new),
        label=pour(state.label, take(state.label, source))
        .at[source]
        .set(-1, mode="drop"),
        category=pour(state.category, best),
        category_count=counts,
        num_obs=pour(state.num_obs, n_old + n_new),
        seen=pour(state.seen, take(state.seen, source)),
        groups=state.groups.at[target].max(take(state.groups, source), mode="drop"),
        alias=state.alias.at[source].set(into, mode="drop"),
        alias_confidence=state.alias_confidence.at[source].set(confidence, mode="drop"),
    )


# ------------------------------------------------------------------------- video


@functools.partial(jax.jit, static_argnames="config")
def track_frames(
    state: TrackerState,
    block: Observations,
    weights: CostWeights,
    conflicts: Bool[Array, "M M"],
    key: Array,
    *,
    config: TrackerConfig,
) -> tuple[TrackerState, Links]:
    """Scans `step` over a block of frames; `block` has a leading time axis."""

    def one(carry: tuple, obs: Observations) -> tuple:
        state, key = carry
        key, own = jax.random.split(key)
        state, links = step(state, obs, weights, conflicts, config, own)
        return (state, key), links

    (state, _), links = lax.scan(one, (state, key), block)
    return state, links


def resolve(alias: np.ndarray) -> np.ndarray:
    """The last track of each chain of aliases."""
    out = np.asarray(alias).copy()
    while (out[out] != out).any():
        out = out[out]
    return out


def grow(state: TrackerState, capacity: int) -> TrackerState:
    """The same table with room for more tracks."""
    old = state.label.shape[0]
    blank = start(
        capacity,
        state.feature.shape[1],
        state.category_count.shape[1],
        state.groups.shape[1],
        TrackerConfig(),
    )

    def widen(table: Array, new: Array) -> Array:
        if table.ndim == 0:
            return table
        fill = jnp.broadcast_to(new[old:, ...], (capacity - old, *new.shape[1:]))
        if new.shape[1:] != table.shape[1:]:  # Rings that this config does not keep.
            fill = jnp.zeros((capacity - old, *table.shape[1:]), table.dtype)
        return jnp.concatenate([table, fill.astype(table.dtype)])

    return jax.tree.map(widen, state, blank)
