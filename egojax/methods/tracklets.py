"""Association over a whole video: 2D ids are cut to tracklets, tracklets are joined.

An online tracker decides at every frame, for good. Here all of the video is known: an
id that changes places with a look-alike is cut there, and the pieces are joined to the
objects that explain places, looks, categories and 2D ids best (`tracklet_search`).

Units: metres, frames.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from egojax.methods import association
from egojax.methods.association import Columns, Identities, Pair
from egojax.methods.tracklet_chains import Bonds
from egojax.methods.tracklet_cuts import (
    Rows,
    cut_at,
    find_halves,
    measure_jumps,
    measure_noise,
)
from egojax.methods.tracklet_evidence import (
    EvidenceConfig,
    Model,
    make_model,
    make_tracklets,
)
from egojax.methods.tracklet_search import search

MAX_DIMS = 32  # Features are projected to so many principal axes.


@dataclasses.dataclass(frozen=True)
class OfflineConfig:
    """How tracklets are made and joined."""

    max_gap: int = 3  # Frames; an id that is not seen for longer is cut.
    window: int = 8  # Observations that are compared on either side of a jump.
    jump: float = 5.0  # Standard errors from which a jump cuts an id.
    slack: float = 0.015  # Metres that a resting object may seem to jump.
    halves: bool = True  # Two parts of one split mask share a track.
    half_reach: float = 0.15  # Metres between the parts of a split mask.
    half_area: float = 0.25  # Relative error of their areas' sum.
    ends: int = 6  # Observations that tell where a tracklet starts or ends.
    neighbours: int = 8  # Candidates of each tracklet, either way.
    margin_scale: float = 3.0  # Nats of evidence that count as one, for confidences.
    evidence: EvidenceConfig = dataclasses.field(default_factory=EvidenceConfig)


class Prepared(NamedTuple):
    """A clip cut to tracklets, ready for the search."""

    order: np.ndarray  # (M,): the given row of each sorted one.
    tracklet: np.ndarray  # (M,): of each sorted row; -1 = a part of a split mask.
    host: np.ndarray  # (M,): of such a part, the sorted row of the other; else -1.
    model: Model


def track_offline(
    columns: Columns,
    config: OfflineConfig = OfflineConfig(),
    *,
    area: np.ndarray | None = None,
    must_link: Sequence[Pair] = (),
    cannot_link: Sequence[Pair] = (),
) -> Identities:
    """Associates all observations of a clip.

    Two observations of a frame share a track only as parts of one split mask.

    Args:
      columns: The observations.
      config: See there.
      area: (M,), pixels; None = split masks are not looked for.
      must_link: Pairs of observations (frame, 2D id) that are the same thing.
      cannot_link: Pairs that are not.

    Returns:
      Track ids 1..K in order of appearance, and how sure the link to the track is.

    Raises:
      UsageError: constraints that name no observation, or contradict each other.
    """
    bound = association.constraints(columns, must_link, cannot_link)
    if not len(columns.frame_idx):
        return Identities(np.zeros(0, np.int32), np.zeros(0, np.float32))
    ready = prepare(columns, config, area, bound)
    count = len(ready.model.tracklets.first)
    holds = np.zeros((count, len(bound.conflicts)), bool)
    group = bound.group[ready.order]
    named = group >= 0
    holds[ready.tracklet[named], group[named]] = True
    found = search(ready.model, Bonds(holds, bound.conflicts), config.neighbours)
    chain = np.empty(count, int)
    for k, members in enumerate(found.chains):
        chain[members] = k
    sure = 1.0 / (1.0 + np.exp(-found.margin / config.margin_scale))
    own = np.where(ready.host >= 0, ready.tracklet[ready.host], ready.tracklet)
    ids, confidence = np.empty(len(own), int), np.empty(len(own), np.float32)
    ids[ready.order], confidence[ready.order] = chain[own], sure[own]
    return Identities(association.by_appearance(ids), confidence)


def prepare(
    columns: Columns,
    config: OfflineConfig,
    area: np.ndarray | None,
    bound: association.Constraints,
) -> Prepared:
    """Cuts the clip to tracklets and measures what the evidence needs."""
    order = np.lexsort((columns.frame_idx, columns.segment_id))
    rows = _rows(columns, order, area)
    noise = measure_noise(rows)
    jumps = measure_jumps(rows, noise, config.window, config.slack)
    starts = cut_at(
        rows,
        jumps,
        max_gap=config.max_gap,
        threshold=config.jump,
        window=config.window,
    )
    group = bound.group[order]
    size = np.maximum(jumps.location, jumps.appearance)
    starts |= _forced_cuts(rows, size, group)
    piece = np.cumsum(starts) - 1
    host = np.full(len(order), -1)
    if config.halves and area is not None:
        free = np.ones(piece[-1] + 1, bool)
        free[piece[group >= 0]] = False
        host = find_halves(
            rows, piece, free, reach=config.half_reach, error=config.half_area
        )
    kept = host < 0
    # Tracklets in order of their first frames.
    first = np.full(piece[-1] + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, piece[kept], rows.frame_idx[kept])
    rank = np.empty(len(first), int)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    tracklet = np.where(kept, rank[piece], -1)
    whole = Rows(*(column[kept] for column in rows))
    tracklets = make_tracklets(whole, tracklet[kept], noise, config.ends)
    return Prepared(
        order, tracklet, host, make_model(tracklets, noise, config.evidence)
    )


def _rows(columns: Columns, order: np.ndarray, area: np.ndarray | None) -> Rows:
    location = columns.location[order].astype(np.float64)
    location[~np.isfinite(location).all(1)] = np.nan
    _, kind = np.unique(np.append(columns.category[order], -1), return_inverse=True)
    known = columns.category[order] >= 0
    return Rows(
        frame_idx=columns.frame_idx[order].astype(np.int64),
        segment_id=columns.segment_id[order].astype(np.int64),
        category=np.where(known, kind[:-1] - 1, -1),
        location=location,
        feature=_compress(columns.feature)[order],
        area=np.ones(len(order)) if area is None else area[order].astype(np.float64),
    )


def _compress(feature: np.ndarray) -> np.ndarray:
    """Features on their principal axes, if they have more than MAX_DIMS."""
    feature = np.nan_to_num(feature).astype(np.float32)
    if feature.shape[1] <= MAX_DIMS:
        return feature.astype(np.float64)
    centered = feature - feature.mean(0)
    _, axes = np.linalg.eigh(centered.T @ centered)
    return (centered @ axes[:, -MAX_DIMS:]).astype(np.float64)


def _forced_cuts(rows: Rows, size: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Cuts so that a person's constraints can be kept whatever the 2D ids say.

    A tracklet then holds one must-link set at most, and those of a set do not overlap.

    Args:
      rows: See there.
      size: (M,), of the jump before each row: ids are cut where they jump most.
      group: int (M,), must-link set of each row; -1 = none.

    Returns:
      bool (M,): rows that start a tracklet.
    """
    cuts = np.zeros(len(group), bool)
    named = np.flatnonzero(group >= 0)
    for a, b in itertools.pairwise(named):
        if rows.segment_id[a] == rows.segment_id[b] and group[a] != group[b]:
            cuts[a + 1 + int(size[a + 1 : b + 1].argmax())] = True
    by_set = named[np.lexsort((rows.frame_idx[named], group[named]))]
    for a, b in itertools.pairwise(by_set):
        if group[a] == group[b] and rows.segment_id[a] != rows.segment_id[b]:
            cuts[_hand_over(rows, size, int(a), int(b))] = True
    return cuts


def _hand_over(rows: Rows, size: np.ndarray, a: int, b: int) -> np.ndarray:
    """Rows at which the ids of a and b are cut, so that one ends as the other starts.

    Empty if the one has ended before the other begins.
    """
    one, two = (np.flatnonzero(rows.segment_id == rows.segment_id[k]) for k in (a, b))
    if rows.frame_idx[one[-1]] < rows.frame_idx[two[0]]:
        return one[:0]
    both = np.concatenate([one, two])
    frame = rows.frame_idx[both]
    between = (frame > rows.frame_idx[a]) & (frame <= rows.frame_idx[b])
    at = frame[between][size[both[between]].argmax()]
    heads = [k[rows.frame_idx[k] >= at][:1] for k in (one, two)]
    return np.concatenate(heads)
