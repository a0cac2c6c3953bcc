"""Which point tracks move as one body, which with the static scene.

Tracks are the nodes of a graph. Its edges join neighbours of a window, and attract
where what is left of both without the dominant motion is alike in every window that
has both; they repel where it is not in any. Tracks that rest in all windows attract
each other from wherever they are. The graph falls into parts (`multicut`). A part that
the dominant motion explains is static; the others are joined where one subspace of few
dimensions takes fewer bits for both than two.

Source: Ochs et al. 2014 (the largest difference over time tells tracks apart); Keuper
et al. 2015 (multicut of tracks, which finds the number of parts); Rao et al. 2010
(coding length of trajectories, in `coding_length`). The three are put together here for
residuals against a rigid motion in perspective, so that parallax cuts nothing.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.spatial import KDTree

from egojax.methods.motion_windows import WindowMotion
from egojax.methods.multicut import contract

UNKNOWN, STATIC = -1, 0  # Groups of tracks; from 1 on, bodies that move.


@dataclasses.dataclass(frozen=True)
class GroupSettings:
    """What counts as the same motion. Lengths are pixels; noise is the window's."""

    noise: float = 0.3  # At least, in any window.
    tolerance: float = 2.0  # Squared difference, in squared noise, that is still alike.
    repulsion: float = 6.0  # The most that an edge repels.
    turning: float = 0.5  # Of the motion, over 100 pixels: how it may change in a body.
    neighbours: int = 12
    calm: float = 3.0  # Times noise: a track that rests in every window.
    distant: int = 8  # Edges of each such track to others.
    # Parts are static whose residual is below so often the noise, or so many pixels
    # times the root of a window's frames.
    moving: float = 2.0
    least_motion: float = 0.3
    typical: float = 75.0  # Percentile over windows, of a part's residual.
    least: int = 6  # Tracks of a part.
    precision: float = 1.0  # Pixels, of the coding length.


def group_tracks(
    windows: Sequence[WindowMotion],
    num_tracks: int,
    settings: GroupSettings | None = None,
    seed: int = 0,
) -> np.ndarray:
    """The group of each track, int64 (N,).

    Args:
      windows: Of tracks 0..N - 1.
      seed: Of the choice of distant edges.

    Returns:
      `STATIC`, 1, 2, ... from the body with most tracks on, or `UNKNOWN` for tracks in
      no window and in parts too small to tell.
    """
    settings = settings or GroupSettings()
    group = np.full(num_tracks, UNKNOWN)
    if not windows:
        return group
    numbers = np.unique(np.concatenate([w.tracks for w in windows]))
    windows = [w._replace(tracks=np.searchsorted(numbers, w.tracks)) for w in windows]
    part = contract(len(numbers), *_graph(windows, len(numbers), settings, seed))
    size = np.bincount(part)
    motion = _typical_motion(windows, part, settings)
    static = (size >= settings.least) & (motion < 1)
    static[size.argmax()] = True
    is_body = (size >= settings.least) & ~static & np.isfinite(motion)
    joined = _join_bodies(windows, part, np.flatnonzero(is_body), settings)
    joined.sort(key=lambda parts: -size[parts].sum())
    name = np.where(static, STATIC, UNKNOWN)
    for number, parts in enumerate(joined, start=1):
        name[parts] = number
    group[numbers] = name[part]
    return group


# --------------------------------------------------------------------------- graph


def _graph(
    windows: Sequence[WindowMotion],
    num_tracks: int,
    settings: GroupSettings,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    noise = [max(settings.noise, window.noise) for window in windows]
    unrest = np.zeros(num_tracks)
    for window, level in zip(windows, noise, strict=True):
        np.maximum.at(unrest, window.tracks, window.error / level)
    pairs, gaps = [], []
    for window, level in zip(windows, noise, strict=True):
        near = _neighbour_pairs(window.middle, settings.neighbours)
        resting = np.flatnonzero(unrest[window.tracks] < settings.calm)
        far = _random_pairs(resting, settings.distant, draw)
        allowed = np.concatenate(
            [
                level**2 + _change(window, near, settings.turning) ** 2,
                np.full(len(far), level**2),
            ]
        )
        both = np.concatenate([near, far])
        apart = window.residual[:, both[:, 0]] - window.residual[:, both[:, 1]]
        gaps.append((apart**2).sum(-1).mean(0) / allowed)
        pairs.append(np.sort(window.tracks[both], axis=1))
    joined = np.concatenate(pairs)
    key = joined[:, 0] * num_tracks + joined[:, 1]
    key, which = np.unique(key, return_inverse=True)
    gap = np.zeros(len(key))
    np.maximum.at(gap, which, np.concatenate(gaps))
    weights = np.clip(settings.tolerance - gap, -settings.repulsion, None)
    return np.stack([key // num_tracks, key % num_tracks], -1), weights


def _neighbour_pairs(middle: np.ndarray, count: int) -> np.ndarray:
    _, nearest = KDTree(middle).query(middle, k=min(count + 1, len(middle)))
    first = np.repeat(np.arange(len(middle)), nearest.shape[1] - 1)
    return np.stack([first, nearest[:, 1:].ravel()], -1)


def _random_pairs(
    among: np.ndarray, count: int, draw: np.random.Generator
) -> np.ndarray:
    if len(among) < 2:
        return np.zeros((0, 2), np.int64)
    first = np.repeat(among, count)
    pairs = np.stack([first, draw.choice(among, len(first))], -1)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def _change(window: WindowMotion, pairs: np.ndarray, turning: float) -> np.ndarray:
    """Pixels by which two points of a body that turns may differ."""
    gap = window.middle[pairs[:, 0]] - window.middle[pairs[:, 1]]
    motion = window.error[pairs].max(1)
    return turning / 100 * np.linalg.norm(gap, axis=-1) * motion


# --------------------------------------------------------------------------- parts


def _typical_motion(
    windows: Sequence[WindowMotion], part: np.ndarray, settings: GroupSettings
) -> np.ndarray:
    """Of each part, how far it is from the dominant motion; NaN = unknown.

    In units of what is told from rest, so that what moves is above 1.

    The median over its points first: noise of single points goes, motion stays.
    """
    found = np.full((part.max() + 1, len(windows)), np.nan)
    for n, window in enumerate(windows):
        frames = len(window.residual)
        least = settings.least_motion * frames**0.5
        unit = max(settings.moving * window.noise, least)
        for p, rows in _rows_by_part(part[window.tracks]):
            if len(rows) >= 4:
                middle = np.median(window.residual[:, rows], axis=1)
                found[p, n] = np.sqrt((middle**2).sum(-1).mean()) / unit
    out = np.full(len(found), np.nan)
    seen = np.isfinite(found).any(1)
    out[seen] = np.nanpercentile(found[seen], settings.typical, axis=1)
    return out


def _rows_by_part(part: np.ndarray) -> list[tuple[int, np.ndarray]]:
    order = np.argsort(part, kind="stable")
    numbers, begin = np.unique(part[order], return_index=True)
    return list(zip(numbers.tolist(), np.split(order, begin[1:]), strict=True))


# -------------------------------------------------------------------------- bodies

DIMENSIONS = 10  # Of residuals, that bodies are compared in.


@dataclasses.dataclass(frozen=True)
class Moments:
    """Sums over points of a window: enough for their coding length."""

    count: float
    total: np.ndarray  # (D,)
    square: np.ndarray  # (D, D)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.count + other.count,
            self.total + other.total,
            self.square + other.square,
        )

    @classmethod
    def of(cls, points: np.ndarray) -> "Moments":
        """Of points (D, n)."""
        return cls(float(points.shape[1]), points.sum(1), points @ points.T)


def coding_length(moments: Moments, precision: float) -> float:
    """Bits that points of one Gaussian take, to within a precision.

    Source: Ma et al. 2007 (lossy data coding), Eq. 8 of Rao et al. 2010.
    """
    depth, count = len(moments.total), moments.count
    mean = moments.total / count
    spread = moments.square / count - np.outer(mean, mean)
    volume = np.linalg.slogdet(np.eye(depth) + depth / precision**2 * spread)[1]
    place = np.log1p(mean @ mean / precision**2)
    return ((count + depth) / 2 * volume + depth / 2 * place) / np.log(2)


def _join_bodies(
    windows: Sequence[WindowMotion],
    part: np.ndarray,
    bodies: np.ndarray,
    settings: GroupSettings,
) -> list[list[int]]:
    """Parts by body: two are one where that saves bits in the windows that see both."""
    seen = _body_moments(windows, part, bodies)
    members = {int(b): [int(b)] for b in bodies}
    gains = {
        (a, b): _saved(seen[a], seen[b], settings.precision)
        for n, a in enumerate(members)
        for b in [*members][:n]
    }
    while gains:
        (a, b), gain = max(gains.items(), key=lambda item: item[1])
        if gain <= 0:
            break
        members[b] += members.pop(a)
        for n, moments in seen.pop(a).items():
            seen[b][n] = seen[b][n] + moments if n in seen[b] else moments
        gains = {pair: gain for pair, gain in gains.items() if a not in pair}
        for c in members:
            if c != b:
                pair = (max(b, c), min(b, c))
                gains[pair] = _saved(seen[b], seen[c], settings.precision)
    return list(members.values())


def _body_moments(
    windows: Sequence[WindowMotion], part: np.ndarray, bodies: np.ndarray
) -> dict[int, dict[int, Moments]]:
    """Of each body, by window."""
    found: dict[int, dict[int, Moments]] = {int(b): {} for b in bodies}
    for n, window in enumerate(windows):
        mine = np.flatnonzero(np.isin(part[window.tracks], bodies))
        if len(mine) < 4:
            continue
        rows = np.moveaxis(window.residual[:, mine], -1, 1).astype(np.float64)
        rows = rows.reshape(-1, len(mine))
        basis = np.linalg.eigh(rows @ rows.T)[1][:, -DIMENSIONS:]
        points = basis.T @ rows
        for p, columns in _rows_by_part(part[window.tracks[mine]]):
            if len(columns) >= 4:
                found[p][n] = Moments.of(points[:, columns])
    return found


def _saved(
    one: dict[int, Moments], other: dict[int, Moments], precision: float
) -> float:
    """Bits saved by one code for two bodies, on the average of common windows."""
    common = one.keys() & other.keys()
    if not common:
        return -np.inf
    saved = 0.0
    for n in common:
        a, b = one[n], other[n]
        apart = sum(coding_length(m, precision) for m in (a, b))
        named = -sum(m.count * np.log2(m.count / (a.count + b.count)) for m in (a, b))
        saved += apart + named - coding_length(a + b, precision)
    return saved / len(common)
