"""Who is who over a whole clip: columns of observations in, lasting ids out.

The host side of the trackers: it ranks 2D ids, pads frames, runs blocks, grows the
table in buckets, and undoes all of that.
"""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egojax.errors import UsageError
from egojax.methods import track_table, tracker
from egojax.methods.tracker import (
    Links,
    Observations,
    TrackerConfig,
    TrackerState,
)
from egojax.ops.association import CostWeights

BLOCK = 256  # Frames a scan.
BUCKETS = (64, 256, 1024, 4096)  # Sizes of the table; each is compiled once.

# A person's word: pairs of (frame position, 2D id).
Pair = tuple[tuple[int, int], tuple[int, int]]

# For clips in metres, set on the development seeds of the standard benchmark.
DEFAULT_WEIGHTS = CostWeights(
    alpha=10.0,
    beta_l=1.0,
    beta_v=1.0,
    beta_c=1.5,
    beta_s=5.0,
    location_weight=50.0,  # A tenth of a metre costs 0.5.
    location_cap=6.0,
    appearance_weight=2.5,
    location_gain=0.15,
    moved_by=0.1,
)


@dataclasses.dataclass(frozen=True)
class Columns:
    """Observations of a clip, a row each, sorted by frame (host)."""

    frame_idx: np.ndarray  # int32 (M,)
    segment_id: np.ndarray  # int64 (M,)
    category: np.ndarray  # int32 (M,)
    location: np.ndarray  # float32 (M, 3), metres; NaN = unknown.
    feature: np.ndarray  # float32 (M, D)
    num_frames: int


class Identities(NamedTuple):
    """The answer, a row for each observation."""

    track_id: np.ndarray  # int32 (M,), 1..K in order of appearance.
    confidence: np.ndarray  # float32 (M,)


class Constraints(NamedTuple):
    """Sets of observations that are one thing, and pairs of sets that are not."""

    group: np.ndarray  # int32 (M,): the set of each observation; -1 = none.
    conflicts: np.ndarray  # bool (S, S)


def track_online(
    columns: Columns,
    weights: CostWeights,
    config: TrackerConfig,
    *,
    must_link: Sequence[Pair] = (),
    cannot_link: Sequence[Pair] = (),
    seed: int = 0,
    precise: bool = False,
    backfill: bool = True,
) -> Identities:
    """Runs the online tracker over a clip.

    Args:
      columns: The observations.
      weights: Of the costs.
      config: See `tracker.TrackerConfig`.
      must_link: Pairs of observations that are the same thing.
      cannot_link: Pairs that are not.
      seed: Of the noise, if there is any.
      precise: In float64, as the published code; needs a device that has it.
      backfill: With a lag, rename the frames before a decision too. Without, every
        frame says what was known when it came, and no answer depends on the future.

    Raises:
      UsageError: constraints that name no observation, or contradict each other.
    """
    bound = constraints(columns, must_link, cannot_link)
    scope = jax.enable_x64(True) if precise else contextlib.nullcontext()
    with scope:
        dtype = np.float64 if precise else np.float32
        rows, padded = pad(columns, bound.group, dtype)
        weights = jax.tree.map(lambda w: jnp.asarray(w, dtype), weights)
        track, sure, alias, alias_sure = _run(
            padded, columns, bound, weights, config, seed
        )
    final = tracker.resolve(alias) if backfill else np.arange(len(alias))
    found = track[columns.frame_idx, rows]
    confidence = sure[columns.frame_idx, rows]
    renamed = final[found] != found
    confidence = np.where(renamed, alias_sure[found], confidence)
    return Identities(by_appearance(final[found]), confidence.astype(np.float32))


def by_appearance(ids: np.ndarray) -> np.ndarray:
    """Any ids to 1..K in the order in which they first occur."""
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    return rank[inverse].astype(np.int32)


def pad(
    columns: Columns, group: np.ndarray, dtype: type = np.float32
) -> tuple[np.ndarray, Observations]:
    """Columns to (T, N) arrays, N a power of two of at least 4, T a multiple of BLOCK.

    Returns:
      The slot of each row in its frame, and the padded observations (NumPy).
    """
    counts = np.bincount(columns.frame_idx, minlength=columns.num_frames)
    starts = np.cumsum(counts) - counts
    slot = np.arange(len(columns.frame_idx)) - starts[columns.frame_idx]
    width = max(4, 1 << int(counts.max(initial=1) - 1).bit_length())
    length = -(-columns.num_frames // BLOCK) * BLOCK if columns.num_frames else BLOCK
    at = (columns.frame_idx, slot)

    def table(values: np.ndarray, blank: float) -> np.ndarray:
        out = np.full((length, width, *values.shape[1:]), blank, values.dtype)
        out[at] = values
        return out

    _, label = np.unique(columns.segment_id, return_inverse=True)
    valid = np.ones(len(slot), bool)
    return slot, Observations(
        locations=table(columns.location.astype(dtype), np.nan),
        features=table(columns.feature.astype(dtype), 0.0),
        labels=table(label.astype(np.int32), -1),
        categories=table(columns.category.astype(np.int32), -1),
        valid=table(valid, False),
        groups=table(group, -1),
    )


def _run(
    padded: Observations,
    columns: Columns,
    bound: Constraints,
    weights: CostWeights,
    config: TrackerConfig,
    seed: int,
) -> tuple[np.ndarray, ...]:
    """Blocks in a row; a block that overflows is run again with a larger table."""
    num_categories = int(columns.category.max(initial=0)) + 1
    state = tracker.start(
        BUCKETS[0],
        columns.feature.shape[1],
        num_categories,
        len(bound.conflicts),
        config,
    )
    key = jax.random.key(seed) if config.noise_std > 0 else None
    tracks, sure, renamed = [], [], {}
    name, total = np.zeros(0, np.int32), 0  # Of the rows in use, and names given.
    for first in range(0, len(padded.valid), BLOCK):
        block = jax.tree.map(lambda leaf, a=first: leaf[a : a + BLOCK], padded)
        state, links = _run_block(state, block, weights, bound, key, config)
        new = int(state.count) - len(name)
        name = np.append(name, np.arange(total, total + new, dtype=np.int32))
        total += new
        row = np.asarray(links.track)
        tracks.append(np.where(row >= 0, np.append(name, -1)[row], -1))
        sure.append(np.asarray(links.confidence))
        if config.lag > 0:
            into = np.asarray(state.alias)[: len(name)]
            certain = np.asarray(state.alias_confidence)
            kept = into == np.arange(len(name))
            for k in np.flatnonzero(~kept):
                renamed[name[k]] = name[into[k]], certain[k]
            state, name = track_table.compact(state, config), name[kept]
    alias, alias_sure = np.arange(total), np.ones(total)
    for k, (into, certain) in renamed.items():
        alias[k], alias_sure[k] = into, certain
    return np.concatenate(tracks), np.concatenate(sure), alias, alias_sure


def _run_block(
    state: TrackerState,
    block: Observations,
    weights: CostWeights,
    bound: Constraints,
    key: jax.Array | None,
    config: TrackerConfig,
) -> tuple[TrackerState, Links]:
    conflicts = jnp.asarray(bound.conflicts)
    while True:
        after, links = tracker.track_frames(
            state, block, weights, conflicts, key, config=config
        )
        if not after.overflow:
            return after, links
        larger = [size for size in BUCKETS if size > state.capacity]
        state = track_table.grow(
            state, larger[0] if larger else 2 * state.capacity, config
        )


# ----------------------------------------------------------------- constraints


def constraints(
    columns: Columns, must_link: Sequence[Pair], cannot_link: Sequence[Pair]
) -> Constraints:
    """Merges must-links to sets and finds the sets that may not share a track.

    Raises:
      UsageError: an unknown observation, or a contradiction, naming the pair.
    """
    row = {
        (int(t), int(s)): n
        for n, (t, s) in enumerate(
            zip(columns.frame_idx, columns.segment_id, strict=True)
        )
    }
    named = [end for pair in (*must_link, *cannot_link) for end in pair]
    missing = [end for end in dict.fromkeys(map(tuple, named)) if end not in row]
    if missing:
        raise UsageError.from_problems(
            f"constraint on frame {t}, 2D id {s}: no such observation"
            for t, s in missing
        )
    parent = {row[tuple(end)]: row[tuple(end)] for end in named}

    def root(n: int) -> int:
        while parent[n] != n:
            n = parent[n]
        return n

    for a, b in must_link:
        parent[root(row[tuple(a)])] = root(row[tuple(b)])
    number = {n: k for k, n in enumerate(sorted({root(n) for n in parent}))}
    group = np.full(len(columns.frame_idx), -1, np.int32)
    for n in parent:
        group[n] = number[root(n)]
    conflicts = np.zeros((len(number), len(number)), bool)
    for a, b in cannot_link:
        i, j = group[row[tuple(a)]], group[row[tuple(b)]]
        if i == j:
            raise UsageError(
                f"constraints contradict each other: {tuple(a)} and {tuple(b)} must "
                "and must not be the same"
            )
        conflicts[i, j] = conflicts[j, i] = True
    _check_frames(columns, group)
    return Constraints(group, conflicts)


def _check_frames(columns: Columns, group: np.ndarray) -> None:
    """One thing cannot be two segments of one frame."""
    seen: dict[tuple[int, int], int] = {}
    for n in np.flatnonzero(group >= 0):
        key = (int(group[n]), int(columns.frame_idx[n]))
        if key in seen:
            other = columns.segment_id[seen[key]]
            raise UsageError(
                f"constraints put 2D ids {other} and {columns.segment_id[n]} of frame "
                f"{key[1]} together, which are two things"
            )
        seen[key] = int(n)
