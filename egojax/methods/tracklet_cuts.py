"""Cuts 2D ids into tracklets that show one object each, and finds split masks (host).

Rows are the observations of a clip, sorted by 2D id and then by frame. A tracklet is a
run of rows of one id. Cutting too often does little harm, for the search may join the
pieces again; a tracklet that holds two objects can never be mended. So an id is cut at
gaps, at jumps, and where it may have changed places with a look-alike.

Units: metres, frames, pixels of area.
"""

from typing import NamedTuple

import numpy as np

# Standard error of a median against that of a mean, for normal noise.
MEDIAN_LOSS = 1.57


class Rows(NamedTuple):
    """Observations sorted by (segment_id, frame_idx)."""

    frame_idx: np.ndarray  # int64 (M,)
    segment_id: np.ndarray  # int64 (M,)
    category: np.ndarray  # int64 (M,)
    location: np.ndarray  # float64 (M, 3); NaN = unknown.
    feature: np.ndarray  # float64 (M, D)
    area: np.ndarray  # float64 (M,)


class Noise(NamedTuple):
    """What single observations scatter by, one sigma per axis."""

    location: float  # Metres.
    feature: float


class Jumps(NamedTuple):
    """How much an id changes before each of its rows (0 at its first row)."""

    before: np.ndarray  # (M, 3): median of the rows before.
    after: np.ndarray  # (M, 3): median from this row on.
    location: np.ndarray  # (M,): distance of the two, in standard errors.
    appearance: np.ndarray  # (M,): excess of the features' change, in sigmas.


def measure_noise(rows: Rows) -> Noise:
    """The scatter of single observations, from neighbours in time of one id."""
    same = (np.diff(rows.segment_id) == 0) & (np.diff(rows.frame_idx) <= 2)
    step = np.abs(np.diff(rows.location, axis=0)[same])
    step = step[np.isfinite(step).all(1)]
    # The median of |normal| is 0.6745 sigma; a difference has twice the variance.
    location = np.median(step) / (0.6745 * np.sqrt(2)) if len(step) else 0.0
    change = np.diff(rows.feature, axis=0)[same]
    feature = np.sqrt(np.median((change**2).mean(1)) / 2) if change.size else 0.0
    return Noise(max(float(location), 1e-3), max(float(feature), 1e-6))


def measure_jumps(rows: Rows, noise: Noise, window: int, slack: float) -> Jumps:
    """Compares the `window` rows before and after each row, within its id.

    Args:
      rows: See there.
      noise: See there.
      window: Rows on each side; fewer at the ends of an id.
      slack: Metres by which a resting object may seem to move in that time.
    """
    first, last = _spans(rows.segment_id)
    here = np.arange(len(rows.frame_idx))[:, None]
    back = here - 1 - np.arange(window)
    ahead = here + np.arange(window)
    before, num_before = _median(rows.location, back, back >= first[:, None])
    after, num_after = _median(rows.location, ahead, ahead < last[:, None])
    known = (num_before > 0) & (num_after > 0)
    per_side = 1 / np.maximum(num_before, 1) + 1 / np.maximum(num_after, 1)
    error = np.sqrt(MEDIAN_LOSS * noise.location**2 * per_side + slack**2)
    distance = np.linalg.norm(np.where(known[:, None], after - before, 0.0), axis=1)
    looks = _feature_change(rows.feature, noise.feature, first, last, window)
    return Jumps(before, after, distance / error, looks)


def _spans(segment_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row and row behind the last of each row's id."""
    starts = np.flatnonzero(np.diff(segment_id, prepend=segment_id[:1] - 1))
    stops = np.append(starts[1:], len(segment_id))
    sizes = stops - starts
    return np.repeat(starts, sizes), np.repeat(stops, sizes)


def _median(
    values: np.ndarray, index: np.ndarray, valid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Median of the finite rows among values[index], and their number."""
    picked = values[np.clip(index, 0, max(0, len(values) - 1))]
    picked = np.where(valid[..., None], picked, np.nan)
    picked = np.sort(picked, axis=1)  # NaN last.
    count = np.isfinite(picked[..., 0]).sum(1)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    high = np.minimum(high, index.shape[1] - 1)
    row = np.arange(len(index))
    return (picked[row, low] + picked[row, high]) / 2, count


def _feature_change(
    feature: np.ndarray, sigma: float, first: np.ndarray, last: np.ndarray, window: int
) -> np.ndarray:
    """Excess of the squared change of the mean feature over its noise, in sigmas."""
    here = np.arange(len(feature))
    dims = feature.shape[1]
    low, high = np.maximum(here - window, first), np.minimum(here + window, last)
    if dims == 0:
        return np.zeros(len(feature))
    total = np.concatenate([np.zeros((1, dims)), np.cumsum(feature, axis=0)])
    num_before, num_after = np.maximum(here - low, 1), high - here
    before = (total[here] - total[low]) / num_before[:, None]
    after = (total[high] - total[here]) / num_after[:, None]
    variance = sigma**2 * (1 / num_before + 1 / num_after)
    chi2 = ((after - before) ** 2).sum(1) / variance
    return np.where(here > low, (chi2 - dims) / np.sqrt(2 * dims), 0.0)


def cut_at(
    rows: Rows, jumps: Jumps, *, max_gap: int, threshold: float, window: int
) -> np.ndarray:
    """bool (M,): rows that start a tracklet.

    Args:
      rows: See there.
      jumps: Of these rows.
      max_gap: An id that is not seen for more frames than this is cut.
      threshold: Standard errors from which a jump is a cut. Look-alikes that seem to
        have exchanged their ids are cut from 0.6 of that.
      window: Of two jumps within half of it only the larger counts.
    """
    new_id = np.diff(rows.segment_id, prepend=rows.segment_id[:1] - 1) != 0
    gap = np.diff(rows.frame_idx, prepend=rows.frame_idx[:1]) > max_gap
    size = np.maximum(jumps.location, jumps.appearance)
    size = np.where(new_id, 0.0, size)
    peak = _is_peak(size, rows.segment_id, max(1, window // 2))
    starts = new_id | gap
    for row in np.flatnonzero(peak & (size > 0.6 * threshold)):
        partner = _exchanged_with(rows, jumps, int(row), window)
        if partner is not None:
            starts[_divide(rows, jumps, partner, window // 2)] = True
        if partner is not None or size[row] > threshold:
            starts[_divide(rows, jumps, int(row), window // 2)] = True
    return starts


def _divide(rows: Rows, jumps: Jumps, row: int, reach: int) -> int:
    """The row near a jump from which on rows are nearer to where it led.

    Medians hardly notice one row on the wrong side, so that the largest jump may lie a
    row off; and one such row keeps a tracklet from its true continuation.
    """
    before, after = jumps.before[row], jumps.after[row]
    if not np.isfinite(before + after).all():
        return row
    near = np.arange(max(0, row - reach), min(len(rows.frame_idx), row + reach + 1))
    near = near[rows.segment_id[near] == rows.segment_id[row]]
    gap = ((rows.location[near] - before) ** 2).sum(1)
    gap -= ((rows.location[near] - after) ** 2).sum(1)
    beyond = np.sign(np.nan_to_num(gap))  # +1: it has jumped already.
    # Of all places to divide, the one with the fewest rows on the wrong side.
    wrong = np.cumsum(np.append(0.0, beyond)) + np.append(
        -beyond[::-1].cumsum()[::-1], 0
    )
    ties = np.flatnonzero(wrong == wrong.min())
    best = ties[np.abs(ties - int(np.searchsorted(near, row))).argmin()]
    return int(near[min(best, len(near) - 1)])


def _is_peak(size: np.ndarray, segment_id: np.ndarray, reach: int) -> np.ndarray:
    """Whether no row of the id within `reach` is larger (of equals: the first)."""
    peak = size > 0
    for shift in range(1, reach + 1):
        same = segment_id[shift:] == segment_id[:-shift]
        peak[shift:] &= ~(same & (size[:-shift] >= size[shift:]))
        peak[:-shift] &= ~(same & (size[shift:] > size[:-shift]))
    return peak


def _exchanged_with(rows: Rows, jumps: Jumps, row: int, window: int) -> int | None:
    """The row at which another id jumps to where this one was, and back, if any."""
    frame = rows.frame_idx[row]
    near = np.flatnonzero(np.abs(rows.frame_idx - frame) <= window // 2)
    near = near[rows.segment_id[near] != rows.segment_id[row]]
    near = near[np.isfinite(jumps.before[near] + jumps.after[near]).all(1)]
    if not len(near) or not np.isfinite(jumps.before[row] + jumps.after[row]).all():
        return None

    def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((a - b) ** 2).sum(-1)

    stay = apart(jumps.before[row], jumps.after[row])
    stay = stay + apart(jumps.before[near], jumps.after[near])
    cross = apart(jumps.before[row], jumps.after[near])
    cross = cross + apart(jumps.before[near], jumps.after[row])
    best = int(np.argmin(cross - 0.5 * stay))
    return int(near[best]) if cross[best] < 0.5 * stay[best] else None


# ------------------------------------------------------------------ split masks


def find_halves(
    rows: Rows, piece: np.ndarray, free: np.ndarray, *, reach: float, error: float
) -> np.ndarray:
    """Finds tracklets that are a part of another's mask.

    When a mask falls into two, one part keeps the 2D id, loses area, and gets the
    area back when the other part vanishes.

    Args:
      rows: See there.
      piece: int (M,), ascending: the tracklet of each row.
      free: bool (K,): tracklets that may be given up as parts.
      reach: Metres between the two parts.
      error: Relative error of the sum of their areas.

    Returns:
      int (M,): for each row of a part, the row of the other part in the same frame (or
      the one nearest in time); -1 for all other rows.
    """
    host = np.full(len(piece), -1)
    by_frame = np.argsort(rows.frame_idx, kind="stable")
    frames = rows.frame_idx[by_frame]
    bounds = np.searchsorted(piece, np.arange(len(free) + 1))
    first, last = _spans(rows.segment_id)
    for k in np.flatnonzero(free):
        own = np.arange(bounds[k], bounds[k + 1])
        if first[own[0]] < own[0] or own[-1] + 1 < last[own[0]]:
            continue  # The 2D id lived before or lives on: no mere part.
        if len(own) > MAX_HALF:
            continue
        low, high = rows.frame_idx[own[0]], rows.frame_idx[own[-1]]
        together = by_frame[
            np.searchsorted(frames, low) : np.searchsorted(frames, high, "right")
        ]
        segment = _other_part(rows, own, together, host, reach, error)
        if segment is not None:
            other = np.flatnonzero(rows.segment_id == segment)
            at = np.searchsorted(rows.frame_idx[other], rows.frame_idx[own])
            host[own] = other[np.minimum(at, len(other) - 1)]
    return host


MAX_HALF = 90  # Observations: a mask that stays split for longer is two things.
MIN_SHARED = 0.6  # Share of a part's frames in which the other is seen.


def _other_part(
    rows: Rows,
    own: np.ndarray,
    together: np.ndarray,
    host: np.ndarray,
    reach: float,
    error: float,
) -> int | None:
    """The 2D id that the mask of these rows was split from, if any."""
    segment = rows.segment_id[own[0]]
    fits = (rows.category[together] == rows.category[own[0]]) & (host[together] < 0)
    together = together[fits & (rows.segment_id[together] != segment)]
    best, least = None, reach
    for other in np.unique(rows.segment_id[together]):
        theirs = together[rows.segment_id[together] == other]
        _, a, b = np.intersect1d(
            rows.frame_idx[own], rows.frame_idx[theirs], return_indices=True
        )
        if len(a) < MIN_SHARED * len(own):
            continue
        apart = rows.location[own[a]] - rows.location[theirs[b]]
        apart = apart[np.isfinite(apart).all(1)]
        if not len(apart):
            continue
        distance = float(np.linalg.norm(np.median(apart, axis=0)))
        if distance < least and _areas_add_up(rows, own, theirs, error):
            best, least = int(other), distance
    return best


def _areas_add_up(
    rows: Rows, own: np.ndarray, theirs: np.ndarray, error: float
) -> bool:
    """Whether their mask has the area of both together just before, or just after."""
    near = 3  # Observations on either side of the event.
    last = len(rows.area)
    for outside, inside, part in (
        (np.arange(max(0, theirs[0] - near), theirs[0]), theirs[:near], own[:near]),
        (
            np.arange(theirs[-1] + 1, min(last, theirs[-1] + 1 + near)),
            theirs[-near:],
            own[-near:],
        ),
    ):
        outside = outside[rows.segment_id[outside] == rows.segment_id[theirs[0]]]
        if not len(outside):
            continue
        gap = abs(rows.frame_idx[outside] - rows.frame_idx[inside[0]]).min()
        whole, rest, lost = (np.median(rows.area[k]) for k in (outside, inside, part))
        sudden = gap <= 2 * near and rest < (1 - error) * whole
        if sudden and abs(rest + lost - whole) < error * whole:
            return True
    return False
