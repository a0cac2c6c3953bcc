"""Learns the costs of association from true identities, through the soft matching.

The tracker is run once with the weights that it starts from, and its table is kept as
it was before every frame: with the fragments and the wrong merges that it really makes.
Each observation then has a right answer: the track that mostly holds its object, or a
new one. The loss is the negative log-likelihood of these answers under the Sinkhorn
plan, so that all weights, the price `alpha` of a new track, and a diagonal metric on
the features share one scale.

A link is worth the frames that hang on it. The first observation of a 2D id on an
object decides for all that follow it, since the 2D id carries them along; every other
observation counts once.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from egojax.errors import UsageError
from egojax.methods import association, track_table, tracker
from egojax.methods.association import Columns
from egojax.methods.tracker import Observations, TrackerConfig, TrackerState
from egojax.ops import assignment
from egojax.ops import association as terms
from egojax.ops.association import CostWeights
from egojax.types import ArrayLike

# What is learned; all positive, so their logarithms are the parameters.
LEARNED = (
    "alpha",
    "beta_v",
    "beta_c",
    "beta_s",
    "location_weight",
    "location_cap",
    "appearance_weight",
)
TEMPERATURE = 1.0  # Costs are then negative log-likelihoods.
LEAST = 1e-6  # A share below this is as wrong as can be.
ROWS = 16  # Tables are cut to a multiple of this.


@struct.dataclass
class Tables:
    """What costs are made of: K tracks as they were before a frame."""

    location: Float[ArrayLike, "*B K 3"]
    feature: Float[ArrayLike, "*B K D"]
    label: Int[ArrayLike, "*B K"]
    category: Int[ArrayLike, "*B K"]
    alive: Bool[ArrayLike, "*B K"]


@struct.dataclass
class Moments:
    """Frames to learn from, with their right answers."""

    tracks: Tables
    seen: Observations  # N of each frame.
    target: Int[ArrayLike, "*B N"]  # Row of the right track; -1 = a new one.
    weight: Float[ArrayLike, "*B N"]  # Observations that hang on the answer; 0 = none.


class AssociationModel(nnx.Module):
    """Logarithms of the weights, and of what each feature is multiplied by."""

    def __init__(self, base: CostWeights, feature_dim: int):
        start = {k: jnp.log(jnp.float32(getattr(base, k))) for k in LEARNED}
        self.log_weights = nnx.Dict({k: nnx.Param(v) for k, v in start.items()})
        self.log_scale = nnx.Param(jnp.zeros(feature_dim, jnp.float32))
        self.base = nnx.static(base)

    def weights(self) -> CostWeights:
        """The weights that the parameters stand for."""
        found = {k: jnp.exp(self.log_weights[k][...]) for k in LEARNED}
        return dataclasses.replace(self.base, **found)

    def feature_scale(self) -> Float[Array, "D"]:
        """What features are multiplied by before they are compared."""
        return jnp.exp(self.log_scale[...])

    def departure(self) -> Float[Array, ""]:
        """Sum of squares of how far the logarithms are from where they began."""
        moved = [
            self.log_weights[k][...] - jnp.log(jnp.float32(getattr(self.base, k)))
            for k in LEARNED
        ]
        return (jnp.stack(moved) ** 2).sum() + (self.log_scale[...] ** 2).sum()


def make_model(base: CostWeights, feature_dim: int) -> AssociationModel:
    """A model that starts as the given weights.

    Raises:
      UsageError: a weight is not positive and finite, so it has no logarithm.
    """
    bad = [k for k in LEARNED if not 0 < float(getattr(base, k)) < float("inf")]
    if bad:
        raise UsageError(
            f"weights are learned from positive, finite ones; here {bad[0]} = "
            f"{float(getattr(base, bad[0])):g}"
        )
    return AssociationModel(jax.tree.map(float, base), feature_dim)


def loss(
    model: AssociationModel, batch: Moments, key: Array, *, prior: float = 0.003
) -> tuple[Array, dict[str, Array]]:
    """Mean negative log-likelihood of the right answers, in nats, and a prior.

    Args:
      model: The weights.
      batch: B frames, drawn in proportion to their weight (`draw`); each counts once.
      key: Unused; nothing is drawn.
      prior: Weight of `AssociationModel.departure`.
    """
    del key
    weights, scale = model.weights(), model.feature_scale()
    lost, right = jax.vmap(lambda one: _frame_loss(one, weights, scale))(batch)
    likelihood = lost.mean()
    logs = {"nll": likelihood, "accuracy": right.mean()}
    return likelihood + prior * model.departure(), logs


def _frame_loss(
    one: Moments, weights: CostWeights, scale: Array
) -> tuple[Array, Array]:
    """-log of the share of the right answers, and how many win; weighted means."""
    tracks, seen = one.tracks, one.seen
    cost = terms.CostTerms(
        location=terms.location_cost(tracks.location, seen.locations, weights),
        appearance=terms.appearance_cost(
            tracks.feature * scale[None], seen.features * scale[None], weights
        ),
        category=terms.mismatch_cost(tracks.category, seen.categories, weights.beta_c),
        label=terms.mismatch_cost(tracks.label, seen.labels, weights.beta_s),
    ).total
    possible = jnp.asarray(tracks.alive)[:, None] & jnp.asarray(seen.valid)[None, :]
    cost = jnp.where(possible, cost, assignment.FORBIDDEN)
    plan = assignment.sinkhorn(
        cost,
        weights.alpha,
        epsilon=TEMPERATURE,
        num_iters=200,
        tolerance=1e-4,
    )
    row = jnp.maximum(one.target, 0)[None, :]
    linked = jnp.take_along_axis(plan.matched, row, axis=0)[0]
    share = jnp.where(jnp.asarray(one.target) >= 0, linked, plan.unmatched)
    counts = jnp.asarray(one.weight)
    safe = jnp.where(counts > 0, jnp.maximum(share, LEAST), 1.0)
    part = counts / jnp.maximum(counts.sum(), 1e-9)
    return -(part * jnp.log(safe)).sum(), (part * (share > 0.5)).sum()


# ----------------------------------------------------------------------- moments


def moments(
    columns: Columns,
    true_ids: np.ndarray,
    weights: CostWeights,
    config: TrackerConfig,
    *,
    max_frames: int = 2000,
    seed: int = 0,
) -> Moments:
    """The frames of a clip, each with the tracker's table before it.

    Args:
      columns: The observations.
      true_ids: int (M,), of the object that each shows; 0 or less = nothing real,
        which is not learned from.
      weights: That the tracker runs with.
      config: Of the tracker; without a lag.
      max_frames: Of a longer clip so many are drawn, all being equally likely.
      seed: Of that draw.

    Returns:
      NumPy arrays with a leading axis of the frames that have something to learn from.
    """
    value = _worth(columns, true_ids)
    object_ids, thing = np.unique(true_ids, return_inverse=True)
    thing = np.where(true_ids > 0, thing, -1)
    useful = np.unique(columns.frame_idx[value > 0])
    if len(useful) > max_frames:
        rng = np.random.default_rng(seed)
        useful = np.sort(rng.choice(useful, max_frames, replace=False))
    nobody = np.full(len(columns.frame_idx), -1, np.int32)
    slot, padded = association.pad(columns, nobody)
    shape, at = padded.valid.shape, (columns.frame_idx, slot)
    things, weight = np.full(shape, -1), np.zeros(shape, np.float32)
    things[at], weight[at] = thing, value
    tables, track = _replay(columns, padded, weights, config, useful)
    target = _answers(things, track, tables.label.shape[1], len(object_ids))
    return Moments(
        tracks=tables,
        seen=jax.tree.map(lambda leaf: leaf[useful], padded),
        target=target[useful],
        weight=weight[useful],
    )


def _worth(columns: Columns, true_ids: np.ndarray) -> np.ndarray:
    """How many observations hang on each, float32 (M,)."""
    # Runs of a 2D id on one object; only the first link of a run decides for it.
    order = np.lexsort((columns.frame_idx, columns.segment_id))
    ids, things = columns.segment_id[order], true_ids[order]
    starts = np.ones(len(order), bool)
    starts[1:] = (ids[1:] != ids[:-1]) | (things[1:] != things[:-1])
    first = np.flatnonzero(starts)
    length = np.diff(np.append(first, len(order)))
    worth = np.ones(len(order), np.float32)
    worth[order[first]] = length
    worth[true_ids <= 0] = 0.0
    # Of an object in several parts the one that lasts longest is its.
    order = np.lexsort((-worth, true_ids, columns.frame_idx))
    frame, things = columns.frame_idx[order], true_ids[order]
    again = (frame[1:] == frame[:-1]) & (things[1:] == things[:-1])
    worth[order[1:][again]] = 0.0
    return worth


def _replay(
    columns: Columns,
    padded: Observations,
    weights: CostWeights,
    config: TrackerConfig,
    kept: np.ndarray,
) -> tuple[Tables, np.ndarray]:
    """Tables before the frames `kept`, and the track of every observation."""
    block = association.BLOCK
    num_categories = int(columns.category.max(initial=0)) + 1
    dim = columns.feature.shape[1]
    state = track_table.start(association.BUCKETS[0], dim, num_categories, 0, config)
    tables, tracks = [], []
    for first in range(0, len(padded.valid), block):
        seen = jax.tree.map(lambda leaf, a=first: leaf[a : a + block], padded)
        while True:
            after, before, track = _record(state, seen, weights, config=config)
            if not after.overflow:
                break
            state = track_table.grow(state, 4 * state.capacity, config)
        state = after
        tracks.append(np.asarray(track))
        rows = kept[(kept >= first) & (kept < first + block)] - first
        tables.append(jax.tree.map(lambda leaf, r=rows: np.asarray(leaf)[r], before))
    used = max(1, -(-int(state.count) // ROWS)) * ROWS
    joined = _concatenate([_resize(table, used) for table in tables])
    return joined, np.concatenate(tracks)


@functools.partial(jax.jit, static_argnames="config")
def _record(
    state: TrackerState,
    block: Observations,
    weights: CostWeights,
    *,
    config: TrackerConfig,
) -> tuple[TrackerState, Tables, Int[Array, "T N"]]:
    """A block of frames of the tracker, with its tables."""
    free = jnp.zeros((0, 0), bool)

    def one(state: TrackerState, seen: Observations):
        before = Tables(
            location=state.location,
            feature=state.feature,
            label=state.label,
            category=state.category,
            alive=jnp.arange(state.capacity) < state.count,
        )
        state, links = tracker.step(state, seen, weights, free, config)
        return state, (before, links.track)

    state, (tables, track) = lax.scan(one, state, block)
    return state, tables, track


def _answers(
    things: np.ndarray, track: np.ndarray, num_tracks: int, num_things: int
) -> np.ndarray:
    """The right track of every observation, int32 (T, N); -1 = a new one."""
    num_tracks = max(num_tracks, int(track.max(initial=0)) + 1)
    held = np.zeros((num_tracks, num_things), np.int64)
    target = np.full(things.shape, -1, np.int32)
    for t in range(len(things)):
        real = things[t] >= 0
        # A track is of the object that it holds most of; an object's is the largest.
        of = np.where(held == held.max(1, keepdims=True), held, 0)
        best = np.where(of.max(0) > 0, of.argmax(0), -1)
        target[t, real] = best[things[t, real]]
        linked = real & (track[t] >= 0)
        np.add.at(held, (track[t, linked], things[t, linked]), 1)
    return target


# ------------------------------------------------------------------------ batches


def join(parts: Sequence[Moments]) -> Moments:
    """The moments of several clips as one, padded to the largest.

    Raises:
      UsageError: nothing to learn from, or features of different lengths.
    """
    parts = [part for part in parts if len(part.weight)]
    if not parts:
        raise UsageError("nothing to learn from: no segment shows a true object")
    widths = sorted({part.seen.features.shape[-1] for part in parts})
    if len(widths) > 1:
        raise UsageError(f"features differ in length from clip to clip: {widths}")
    rows = max(part.tracks.label.shape[1] for part in parts)
    columns = max(part.weight.shape[1] for part in parts)
    return _concatenate(
        [
            Moments(
                tracks=_resize(part.tracks, rows),
                seen=_resize(part.seen, columns),
                target=_resize(part.target, columns),
                weight=_resize(part.weight, columns),
            )
            for part in parts
        ]
    )


def _resize(tree, size: int):
    """All arrays cut, or padded with zeros, to this size of their second axis.

    Zeros are never looked at: padding is not alive, not valid and weighs nothing.
    """

    def one(leaf: np.ndarray) -> np.ndarray:
        out = np.zeros((len(leaf), size, *leaf.shape[2:]), leaf.dtype)
        count = min(size, leaf.shape[1])
        out[:, :count] = leaf[:, :count]
        return out

    return jax.tree.map(one, tree)


def _concatenate(trees: Sequence):
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees)


def draw(data: Moments, size: int, key: Array) -> Iterator[Moments]:
    """Batches without end: frames drawn in proportion to what hangs on them."""
    seed = np.asarray(jax.random.key_data(key)).tolist()
    worth = data.weight.sum(1).astype(np.float64)
    share = worth / worth.sum()
    for step in range(np.iinfo(np.int64).max):
        rng = np.random.default_rng([*seed, step])
        rows = rng.choice(len(share), size, p=share)
        yield jax.tree.map(lambda leaf, r=rows: leaf[r], data)
