"""The table of tracks: what is kept of each, and how observations are written into it.

A table has room for K tracks of which the first `count` are in use. Every update costs
the same however long a history is: modes are kept as counters, means as running sums.

Units: metres, frames. Labels and categories are dense integers, negative = unknown.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from egojax.errors import UsageError
from egojax.ops.association import CostWeights
from egojax.types import ArrayLike

LABEL_WINDOW = 100  # Past 2D ids of which the mode is compared.


CHOICES = {
    "solver": ("sinkhorn", "exact"),
    "gate": ("before", "after"),
    "appearance_update": ("mean", "recursive", "ema"),
    "label_memory": ("last", "mode"),
}


@dataclasses.dataclass(frozen=True)
class TrackerConfig:
    """What is compiled in. Numbers that are weights are in `CostWeights`.

    Raises:
      UsageError: a switch that there is not, or switches that do not go together.
    """

    solver: str = "sinkhorn"  # Words are those of CHOICES.
    gate: str = "before"  # Of the assignment; after = published.
    # mean: a running one, which after gamma observations forgets as an average over
    # gamma of them does, without keeping them. recursive = published.
    appearance_update: str = "mean"
    gamma: int = 100  # Window of the appearance, in observations.
    label_memory: str = "last"  # Compared 2D id; mode = published.
    lag: int = 0  # Frames that a new 2D id has to live before it may take over.
    epsilon: float = 0.1  # Temperature of the soft assignment.
    num_iters: int = 50
    noise_std: float = 0.0  # Added to every cost; 0.1 = published.

    def __post_init__(self) -> None:
        for name, words in CHOICES.items():
            if (value := getattr(self, name)) not in words:
                raise UsageError(f"{name}={value}: there are {', '.join(words)}")
        if self.gate == "after" and self.solver != "exact":
            raise UsageError(
                f"gate=after goes with solver=exact, not {self.solver}: the soft "
                "assignment knows alpha from the start"
            )
        published = self.label_memory == "mode" or self.appearance_update == "recursive"
        if self.lag > 0 and published:
            raise UsageError(
                f"lag={self.lag} goes with label_memory=last and appearance_update=mean"
                f" or ema, not {self.label_memory} and {self.appearance_update}: only "
                "those can be merged"
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
    feature_square: Float[Array, "K"]  # |feature|^2
    evolved: Float[Array, "K G D"]  # Past evolved features; G = 0 unless recursive.
    evolved_sum: Float[Array, "K D"]  # Of those; D = 0 unless recursive.
    label: Int[Array, "K"]
    label_ring: Int[Array, "K L"]  # L = 0 unless the mode is compared.
    label_votes: Int[Array, "K L"]  # How often each label of the ring is in it.
    category: Int[Array, "K"]
    category_count: Int[Array, "K C"]
    num_obs: Int[Array, "K"]
    born: Int[Array, "K"]  # Frame.
    seen: Int[Array, "K"]  # Last frame.
    alias: Int[Array, "K"]  # The track that this one turned out to be; itself if none.
    alias_confidence: Float[Array, "K"]
    groups: Bool[Array, "K M"]  # Which must-linked sets it holds.

    @property
    def capacity(self) -> int:
        return self.label.shape[-1]


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
        feature_square=jnp.zeros(k, dtype),
        evolved=jnp.zeros((k, past, feature_dim), dtype),
        evolved_sum=jnp.zeros((k, feature_dim if past else 0), dtype),
        label=ints(k, -1),
        label_ring=ints((k, ring), -1),
        label_votes=ints((k, ring), 0),
        category=ints(k, -1),
        category_count=ints((k, num_categories), 0),
        num_obs=ints(k, 0),
        born=ints(k, 0),
        seen=ints(k, -1),
        alias=jnp.arange(k, dtype=jnp.int32),
        alias_confidence=jnp.ones(k, dtype),
        groups=jnp.zeros((k, num_groups), bool),
    )


def grow(state: TrackerState, capacity: int, config: TrackerConfig) -> TrackerState:
    """The same table with room for more tracks."""
    old = state.capacity
    blank = start(
        capacity,
        state.feature.shape[1],
        state.category_count.shape[1],
        state.groups.shape[1],
        config,
    )

    def widen(table: Array, new: Array) -> Array:
        return jnp.concatenate([table, new[old:, ...]]) if table.ndim else table

    return jax.tree.map(widen, state, blank)


@functools.partial(jax.jit, static_argnames="config")
def compact(state: TrackerState, config: TrackerConfig) -> TrackerState:
    """The same table without the rows that were merged into others, in order."""
    rows = jnp.arange(state.capacity)
    kept = (rows < state.count) & (state.alias == rows)
    count = kept.sum().astype(jnp.int32)
    order = jnp.argsort(~kept, stable=True)
    blank = start(
        state.capacity,
        state.feature.shape[1],
        state.category_count.shape[1],
        state.groups.shape[1],
        config,
    )

    def gather(table: Array, new: Array) -> Array:
        if table.ndim == 0:
            return table
        used = (rows < count).reshape(-1, *[1] * (table.ndim - 1))
        return jnp.where(used, table[order], new)

    packed = jax.tree.map(gather, state, blank)
    return dataclasses.replace(packed, count=count, alias=blank.alias)


def resolve(alias: np.ndarray) -> np.ndarray:
    """The last track of each chain of aliases."""
    out = np.asarray(alias).copy()
    while (out[out] != out).any():
        out = out[out]
    return out


def rows_of(table: Array, row: Array) -> Array:
    """These rows; an index past the end gives the last row."""
    return jnp.take(table, row, axis=0, mode="clip")


# ----------------------------------------------------------------------- writing


def write(
    state: TrackerState,
    obs: Observations,
    found: Int[Array, "N"],
    weights: CostWeights,
    config: TrackerConfig,
) -> tuple[TrackerState, Int[Array, "N"]]:
    """Writes the observations of a frame into their rows, new ones behind the last.

    Args:
      state: The table.
      obs: Of one frame.
      found: Row of each observation, -1 = a new track.
      weights: For how a place is smoothed.
      config: Static.

    Returns:
      The table and the row of each observation; -1 = padding, or no room.
    """
    capacity = state.capacity
    births = obs.valid & (found < 0)
    row = jnp.where(births, state.count + jnp.cumsum(births) - 1, found)
    row = jnp.where(obs.valid, row, capacity).astype(jnp.int32)  # Scatters drop those.
    total = state.count + births.sum()
    num = (jnp.where(births, 0, rows_of(state.num_obs, row)) + 1).astype(jnp.int32)
    feature, evolved, evolved_sum = _evolve(state, obs, row, num, config)
    counts, category = _vote(state, obs, row)
    ring, votes, label = _remember_label(state, obs, row, num, config)

    def put(table: Array, rows: Array) -> Array:
        return table.at[row].set(rows, mode="drop")

    groups = state.groups
    if groups.shape[1]:
        joined = jax.nn.one_hot(obs.groups, groups.shape[1], dtype=bool)
        groups = groups.at[row].max(joined, mode="drop")
    old = rows_of(state.location, row)
    born = jnp.where(births, state.time, rows_of(state.born, row))
    state = dataclasses.replace(
        state,
        count=jnp.minimum(total, capacity).astype(jnp.int32),
        overflow=state.overflow | (total > capacity),
        location=put(state.location, _move(old, obs.locations, weights)),
        feature=put(state.feature, feature),
        feature_square=put(state.feature_square, (feature**2).sum(-1)),
        evolved=evolved,
        evolved_sum=evolved_sum,
        label=put(state.label, label),
        label_ring=ring,
        label_votes=votes,
        category=put(state.category, category),
        category_count=counts,
        num_obs=put(state.num_obs, num),
        born=put(state.born, born),
        seen=put(state.seen, jnp.broadcast_to(state.time, row.shape)),
        groups=groups,
    )
    return state, jnp.where(obs.valid & (row < capacity), row, -1)


def _move(old: Array, new: ArrayLike, weights: CostWeights) -> Array:
    """The track's place: the last one, smoothed while it stays where it was."""
    known_old = jnp.isfinite(old).all(-1, keepdims=True)
    known_new = jnp.isfinite(new).all(-1, keepdims=True)
    far = ((new - old) ** 2).sum(-1, keepdims=True) > weights.moved_by**2
    gain = jnp.where(far, 1.0, weights.location_gain)
    blend = old + gain * (new - old)
    return jnp.where(known_new, jnp.where(known_old, blend, new), old)


def _evolve(
    state: TrackerState,
    obs: Observations,
    row: Array,
    num: Array,
    config: TrackerConfig,
) -> tuple[Array, Array, Array]:
    """The evolved feature of each observation's track, and the memory of them."""
    new = jnp.asarray(obs.features)
    k = num[:, None]
    if config.appearance_update != "recursive":
        old = rows_of(state.feature, row)
        window = jnp.minimum(k, config.gamma).astype(new.dtype)
        ema = jnp.where(k == 1, 1.0, 1.0 / config.gamma).astype(new.dtype)
        share = 1.0 / window if config.appearance_update == "mean" else ema
        return old + share * (new - old), state.evolved, state.evolved_sum
    # Published: the mean of the last evolved features (not of the raw ones) and of r.
    # The running sum makes it one row read and one row written per observation.
    total = jnp.where(k == 1, 0.0, rows_of(state.evolved_sum, row))
    held = jnp.minimum(num - 1, config.gamma)[:, None].astype(new.dtype)
    feature = (total + new) / (held + 1.0)
    slot = (num - 1) % config.gamma
    leaving = state.evolved.at[row, slot].get(mode="clip")
    leaving = jnp.where(k > config.gamma, leaving, 0.0)
    evolved = state.evolved.at[row, slot].set(feature, mode="drop")
    total = state.evolved_sum.at[row].set(total + feature - leaving, mode="drop")
    return feature, evolved, total


def _vote(state: TrackerState, obs: Observations, row: Array) -> tuple[Array, Array]:
    """Counts of categories, and the most frequent one; ties go to the smallest."""
    known = obs.categories >= 0
    at = jnp.where(known, row, state.capacity)
    counts = state.category_count.at[at, jnp.maximum(obs.categories, 0)].add(
        1, mode="drop"
    )
    return counts, most_frequent(rows_of(counts, row))


def most_frequent(counts: Int[Array, "N C"]) -> Int[Array, "N"]:
    """The smallest of the most frequent, -1 where nothing was counted."""
    return jnp.where(counts.max(-1) > 0, counts.argmax(-1), -1).astype(jnp.int32)


def _remember_label(
    state: TrackerState,
    obs: Observations,
    row: Array,
    num: Array,
    config: TrackerConfig,
) -> tuple[Array, Array, Array]:
    """The 2D id to compare next time: the last one, or the mode of the last 100."""
    new = jnp.asarray(obs.labels, jnp.int32)
    if config.label_memory == "last":
        return state.label_ring, state.label_votes, new
    slot = (num - 1) % LABEL_WINDOW
    ring, votes = rows_of(state.label_ring, row), rows_of(state.label_votes, row)
    here = jnp.arange(LABEL_WINDOW)[None, :] == slot[:, None]
    # Every entry knows how often its label is in the ring: one in, one out.
    left = jnp.where(here, ring, 0).sum(1)
    votes = votes - ((ring == left[:, None]) & (num > LABEL_WINDOW)[:, None])
    ring = jnp.where(here, new[:, None], ring)
    same = ring == new[:, None]
    held = jnp.arange(LABEL_WINDOW)[None, :] < num[:, None]
    entered = (jnp.where(same & ~here, votes, 0).max(1) + 1)[:, None]
    votes = jnp.where(held, jnp.where(same, entered, votes), 0)
    best = held & (votes == votes.max(1, keepdims=True))
    label = jnp.where(best, ring, jnp.iinfo(jnp.int32).max).min(1)
    return (
        state.label_ring.at[row].set(ring, mode="drop"),
        state.label_votes.at[row].set(votes, mode="drop"),
        label.astype(jnp.int32),
    )


def merge(
    state: TrackerState,
    source: Int[Array, "N"],
    target: Int[Array, "N"],
    confidence: Float[Array, "N"],
    config: TrackerConfig,
) -> TrackerState:
    """Pours rows into others, which take over their 2D ids.

    Args:
      state: The table.
      source: Rows that end.
      target: Rows that go on; -1 = this pair is left alone.
      confidence: Kept beside the alias.
      config: Static.
    """
    merged = target >= 0
    into = jnp.where(merged, target, state.capacity)
    gone = jnp.where(merged, source, state.capacity)

    def pour(table: Array, values: Array) -> Array:
        return table.at[into].set(values, mode="drop")

    n_old, n_new = rows_of(state.num_obs, into), rows_of(state.num_obs, gone)
    share = (n_new / (jnp.minimum(n_old, config.gamma) + n_new))[:, None]
    old, new = rows_of(state.feature, into), rows_of(state.feature, gone)
    feature = old + share.astype(old.dtype) * (new - old)
    counts = rows_of(state.category_count, into) + rows_of(state.category_count, gone)
    place, was = rows_of(state.location, gone), rows_of(state.location, into)
    place = jnp.where(jnp.isfinite(place).all(-1, keepdims=True), place, was)
    label = pour(state.label, rows_of(state.label, gone))
    groups = state.groups.at[into].max(rows_of(state.groups, gone), mode="drop")
    return dataclasses.replace(
        state,
        location=pour(state.location, place),
        feature=pour(state.feature, feature),
        feature_square=pour(state.feature_square, (feature**2).sum(-1)),
        label=label.at[gone].set(-1, mode="drop"),
        category=pour(state.category, most_frequent(counts)),
        category_count=pour(state.category_count, counts),
        num_obs=pour(state.num_obs, n_old + n_new),
        seen=pour(state.seen, rows_of(state.seen, gone)),
        groups=groups.at[gone].set(False, mode="drop"),
        alias=state.alias.at[gone].set(target, mode="drop"),
        alias_confidence=state.alias_confidence.at[gone].set(confidence, mode="drop"),
    )
