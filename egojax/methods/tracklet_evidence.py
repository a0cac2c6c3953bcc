"""How likely tracklets are one object: pairs of them, and whole sets (host).

Everything is a log-likelihood ratio in nats, "the same object" against "another one,
perhaps one that looks the same". A set's evidence is made of sums over its members, so
that the evidence of any stretch of a chain is a difference of running sums.

Units: metres, frames.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from egojax.methods.tracklet_cuts import MEDIAN_LOSS, Noise, Rows

TERMS = ("location", "appearance", "category", "same_id", "bias")
LONG = 6  # The long window of places, in short ones.
FEATURE_WINDOW = 30  # Observations of a feature that count as independent.
MOVED_SIGMAS = 4.0  # Its first frames lie that far from the next: it moves.
STEADY = 40  # Observations of a tracklet whose two halves show how looks drift.
SEEN_WELL = 10  # Observations from which a mean look counts.
NEIGHBOURS = 15  # Tracklets that begin next, among which pairs in view are sought.


@dataclasses.dataclass(frozen=True)
class EvidenceConfig:
    """The model of the world, and the weights of its terms."""

    # Of a resting object's place between two sightings, one sigma per axis: drift of
    # poses and depth, and the other side of the object.
    place_drift: float = 0.04  # Metres.
    near_gap: int = 15  # Frames; beyond, places are taken from the long window.
    # Of a single observation: masks are cut off where objects come and go.
    ragged: float = 0.1  # Metres, over the number of observations.
    # Metres an object is carried while nobody looks, one sigma per axis.
    carry_reach: float = 0.35
    carry_speed: float = 0.03  # Metres a frame: short gaps allow no long ways.
    move_share: float = 0.02  # Share of objects that are moved in any gap, ...
    move_frames: float = 6000.0  # ... and the mean time between moves out of sight.
    move_share_moving: float = 0.7  # Of those that were moving when last seen.
    far_share: float = 0.2  # Of moved objects: carried anywhere in the scene.
    # Tracklets of fewer observations are told too little by to be bridges: the next
    # solid tracklet is compared with the solid one before as well.
    solid: int = 5
    brief_weight: float = 0.5  # Of the location of a link with such a tracklet.
    category_error: float = 0.1  # Share of 2D ids with a wrong category.
    # Of TERMS; set, like the numbers above, on seeds 0-9 of the standard benchmark.
    weights: tuple[float, float, float, float, float] = (1.0, 0.7, 1.0, 6.0, 1.0)


class Tracklets(NamedTuple):
    """Runs of observations, a row each, sorted by first frame."""

    first: np.ndarray  # int64 (K,), frame.
    last: np.ndarray
    count: np.ndarray  # Observations.
    segment_id: np.ndarray
    category: np.ndarray  # int64 (K,), ranks; -1 = unknown.
    start: np.ndarray  # (K, 2, 3): where it was in its first frames; NaN = unknown.
    end: np.ndarray  # Both over a short and over a long window.
    start_error: np.ndarray  # (K, 2): of the start, one sigma per axis.
    end_error: np.ndarray
    moving_in: np.ndarray  # bool (K,): it moves in its first frames.
    moving_out: np.ndarray
    feature: np.ndarray  # (K, D), mean.
    change: np.ndarray  # (K,): mean square of its second half less its first, per axis.


class Looks(NamedTuple):
    """How features scatter: variances per axis."""

    own: np.ndarray  # (K,): of a tracklet's mean around its object's true look.
    alike: float  # Of objects of one category around their common look.


def make_tracklets(
    rows: Rows, tracklet: np.ndarray, noise: Noise, window: int
) -> Tracklets:
    """Sums up tracklets.

    Args:
      rows: See there.
      tracklet: int (M,), the tracklet of each row, 0 .. K - 1, any order in time; a
        tracklet's rows are sorted by frame.
      noise: See there.
      window: Rows at either end that tell where it is.
    """
    order = np.argsort(tracklet, kind="stable")
    starts = np.flatnonzero(np.diff(tracklet[order], prepend=-1))
    groups = np.split(order, starts[1:])
    ends = [_end(rows.location[g[::-1]], noise.location, window) for g in groups]
    heads = [_end(rows.location[g], noise.location, window) for g in groups]
    head = np.array([g[0] for g in groups])
    tail = np.array([g[-1] for g in groups])
    return Tracklets(
        first=rows.frame_idx[head],
        last=rows.frame_idx[tail],
        count=np.array([len(g) for g in groups]),
        segment_id=rows.segment_id[head],
        category=np.array([_mode(rows.category[g]) for g in groups]),
        start=np.array([place for place, _, _ in heads]),
        end=np.array([place for place, _, _ in ends]),
        start_error=np.array([error for _, error, _ in heads]),
        end_error=np.array([error for _, error, _ in ends]),
        moving_in=np.array([moving for _, _, moving in heads]),
        moving_out=np.array([moving for _, _, moving in ends]),
        feature=np.array([rows.feature[g].mean(0) for g in groups]),
        change=np.array([_change(rows.feature[g]) for g in groups]),
    )


def _end(
    place: np.ndarray, sigma: float, window: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Places, their errors, and whether it moves, in the first rows of those given."""
    known = place[np.isfinite(place).all(1)][: LONG * window]
    if not len(known):
        return np.full((2, 3), np.nan), np.full(2, sigma), False
    near, next_ = known[:window], known[window : 2 * window]
    moving = False
    if len(next_) >= 2:
        error = sigma * np.sqrt(MEDIAN_LOSS * (1 / len(near) + 1 / len(next_)))
        away = np.linalg.norm(np.median(near, 0) - np.median(next_, 0))
        moving = bool(away > MOVED_SIGMAS * error)
    if moving:
        near = known[: max(1, window // 2)]
    long = near if moving else known
    errors = [sigma * np.sqrt(MEDIAN_LOSS / len(used)) for used in (near, long)]
    return np.stack([np.median(near, 0), np.median(long, 0)]), np.array(errors), moving


def _change(feature: np.ndarray) -> float:
    half = len(feature) // 2
    if half == 0 or feature.shape[1] == 0:
        return np.nan
    return float(((feature[:half].mean(0) - feature[half:].mean(0)) ** 2).mean())


def _mode(values: np.ndarray) -> int:
    found, count = np.unique(values[values >= 0], return_counts=True)
    return int(found[count.argmax()]) if len(found) else -1


def measure_looks(tracklets: Tracklets, noise: Noise) -> Looks:
    """Learns from the clip how stable looks are, and how alike the look-alikes.

    Two tracklets of one category that are in view together are two objects.
    """
    size = np.minimum(tracklets.count, FEATURE_WINDOW)
    long = tracklets.count >= STEADY
    half = np.minimum(tracklets.count[long] // 2, FEATURE_WINDOW)
    drift = tracklets.change[long] / 2 - noise.feature**2 / np.maximum(half, 1)
    drift = max(0.0, float(np.median(drift))) if len(drift) else 0.0
    own = noise.feature**2 / size + drift
    if tracklets.feature.shape[1] == 0:
        return Looks(own, 1.0)
    i, j = _together(tracklets)
    apart = ((tracklets.feature[i] - tracklets.feature[j]) ** 2).mean(1)
    alike = (apart - own[i] - own[j]) / 2
    if not len(i):  # Nothing to learn from: as different as any two.
        alike = tracklets.feature.var(axis=0)
    # At least a little: no two things look exactly the same.
    return Looks(own, max(float(np.median(alike)), 0.01 * noise.feature**2))


def _together(tracklets: Tracklets) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of one category that overlap in time, neighbours in order of start."""
    pairs = [np.zeros((2, 0), int)]
    for shift in range(1, NEIGHBOURS + 1):
        i = np.arange(max(0, len(tracklets.first) - shift))
        j = i + shift
        kind = tracklets.category[i]
        alike = (kind == tracklets.category[j]) & (kind >= 0)
        alike &= np.minimum(tracklets.count[i], tracklets.count[j]) >= SEEN_WELL
        alike &= tracklets.first[j] <= tracklets.last[i]
        pairs.append(np.stack([i[alike], j[alike]]))
    i, j = np.concatenate(pairs, axis=1)
    return i, j


class Model(NamedTuple):
    """All that the evidence of pairs and sets is computed from."""

    tracklets: Tracklets
    looks: Looks
    config: EvidenceConfig
    center: np.ndarray  # (3,), of the scene.
    spread: np.ndarray  # (3,), one sigma per axis.
    category_share: np.ndarray  # (C,)
    sums: np.ndarray  # (K, F): what sets add up; see `_sums`.
    solid: np.ndarray  # bool (K,): seen often enough.


def make_model(tracklets: Tracklets, noise: Noise, config: EvidenceConfig) -> Model:
    """Measures what the evidence needs to know of the clip."""
    place = tracklets.start[:, 1]
    place = place[np.isfinite(place).all(1)]
    center = np.median(place, axis=0) if len(place) else np.zeros(3)
    spread = np.std(place, axis=0) if len(place) else np.ones(3)
    known = tracklets.category[tracklets.category >= 0]
    counts = np.bincount(known, minlength=1) + 1.0
    looks = measure_looks(tracklets, noise)
    sums = _sums(tracklets, looks, len(counts))
    share = counts / counts.sum()
    solid = (tracklets.count >= config.solid) & np.isfinite(tracklets.end[:, 0, 0])
    spread = np.maximum(spread, 0.2)
    model = Model(tracklets, looks, config, center, spread, share, sums, solid)
    alone = _vote_evidence(model, sums[:, VOTES + 2 * tracklets.feature.shape[1] :])
    sums[:, ALONE] = alone
    return model


# ------------------------------------------------------------------------- links


def pair_terms(model: Model, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Evidence (P, 5), a column for each of TERMS, that j is what i became.

    Args:
      model: Of the clip.
      i: int (P,), tracklets.
      j: int (P,), tracklets that start after i has ended.
    """
    looks, kinds = set_terms(model, model.sums[i] + model.sums[j])
    place, same_id = link_terms(model, i, j)
    brief = ~(model.solid[i] & model.solid[j])
    place = np.where(brief, model.config.brief_weight * place, place)
    return np.stack([place, looks, kinds, same_id, np.ones(len(i))], axis=1)


def pair_score(model: Model, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Evidence (P,) of pairs: their terms, weighted."""
    return pair_terms(model, i, j) @ np.array(model.config.weights)


def link_terms(
    model: Model, i: np.ndarray, j: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Location and same_id for neighbours in a chain; shapes as those of i and j.

    The object rests, or it was carried a little way, or anywhere.
    """
    a, c = model.tracklets, model.config
    gap = np.maximum(a.first[j] - a.last[i], 1)
    # Over a long gap poses have drifted anyhow: the mean of more frames is better.
    use = (gap > c.near_gap).astype(int)
    square = ((a.start[j, use] - a.end[i, use]) ** 2).sum(-1)
    known = np.isfinite(square)
    square = np.where(known, square, 0.0)
    drift = c.place_drift**2 * np.minimum(1.0, 0.1 + gap / 30.0)
    rest = a.end_error[i, use] ** 2 + a.start_error[j, use] ** 2 + drift
    rest = rest + c.ragged**2 * (a.count[i] ** -2.0 + a.count[j] ** -2.0)
    carried = rest + np.minimum(c.carry_reach, c.carry_speed * gap) ** 2
    moved = 1.0 - (1.0 - c.move_share) * np.exp(-gap / c.move_frames)
    moving = a.moving_out[i] | a.moving_in[j]
    moved = np.where(moving, np.maximum(moved, c.move_share_moving), moved)
    found = np.where(known[..., None], a.start[j, use], model.center)
    anywhere = _anywhere(model, found)
    inside = np.logaddexp(
        np.log1p(-moved) + _normal(square, rest),
        np.log(moved * (1 - c.far_share)) + _normal(square, carried),
    )
    total = np.logaddexp(inside, np.log(moved * c.far_share) + anywhere)
    place = np.where(known, total - anywhere, 0.0)
    return place, (a.segment_id[i] == a.segment_id[j]).astype(float)


def _normal(square: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Log density in space, `variance` per axis."""
    return -0.5 * (square / variance + 3 * np.log(2 * np.pi * variance))


def _anywhere(model: Model, place: np.ndarray) -> np.ndarray:
    """Log density of a place in the scene."""
    z = (place - model.center) / model.spread
    scale = np.log(2 * np.pi * model.spread**2).sum()
    return -0.5 * (np.minimum((z**2).sum(-1), 9.0) + scale)


# -------------------------------------------------------------------------- sets


# Columns of the sums: precision and weighted square of a tracklet's own look, both for
# the look that look-alikes share, half the log of their ratio, the evidence of its own
# vote; then features weighted by either precision, and the votes.
ALONE, VOTES = 5, 6


def _sums(tracklets: Tracklets, looks: Looks, num_categories: int) -> np.ndarray:
    """(K, 6 + 2 D + C), the evidence of votes still blank."""
    feature = tracklets.feature - tracklets.feature.mean(0)
    dims = feature.shape[1]
    square = (feature**2).sum(1)
    own, wide = 1 / looks.own, 1 / (looks.own + looks.alike)
    ratio = 0.5 * dims * np.log(own / wide)
    blank = np.zeros(len(own))
    scalars = [own, own * square, wide, wide * square, ratio, blank]
    # A 2D id has one vote, which its tracklets share.
    _, which, times = np.unique(
        tracklets.segment_id, return_inverse=True, return_counts=True
    )
    known = tracklets.category >= 0
    votes = np.zeros((len(own), num_categories))
    votes[known, tracklets.category[known]] = 1.0 / times[which][known]
    features = [feature * own[:, None], feature * wide[:, None]]
    return np.concatenate([np.stack(scalars, axis=1), *features, votes], axis=1)


def set_terms(model: Model, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Appearance and category of sets, from the sums (P, F) of their members.

    Appearance: all means scatter around one look, against each around a look of its own
    that scatters around a common one; both looks integrated out over a flat prior.
    Category: all votes come from one category, with errors.
    """
    dims = model.tracklets.feature.shape[1]
    own, own2, wide, wide2, ratio, alone = sums[:, :VOTES].T
    first = sums[:, VOTES : VOTES + dims]
    second = sums[:, VOTES + dims : VOTES + 2 * dims]
    some = own > 0
    own, wide = np.where(some, own, 1.0), np.where(some, wide, 1.0)
    scatter = own2 - (first**2).sum(1) / own
    wide_scatter = wide2 - (second**2).sum(1) / wide
    looks = ratio + 0.5 * (dims * np.log(wide / own) + wide_scatter - scatter)
    votes = sums[:, VOTES + 2 * dims :]
    kinds = _vote_evidence(model, votes) - alone
    return np.where(some, looks, 0.0), np.where(some, kinds, 0.0)


def _vote_evidence(model: Model, votes: np.ndarray) -> np.ndarray:
    """log of the sum over categories of p(c) prod of p(vote | c) / p(vote)."""
    error, share = model.config.category_error, model.category_share
    right = np.log((1 - error) / share + error)
    each = np.log(share) + votes * right
    each = each + (votes.sum(1, keepdims=True) - votes) * np.log(error)
    top = each.max(axis=1)
    return top + np.log(np.exp(each - top[:, None]).sum(axis=1))
