"""Which point tracks move as one body, which with the static scene.

Tracks are the nodes of a graph. Its edges join neighbours of a window, and attract
where what is left of both without the dominant motion is alike in every window that
has both; they repel where it is not in any. Tracks that rest in all windows attract
each other from wherever they are. The graph falls into parts by a multicut, or by what
the caller brings: the job brings the low-rank loss (`lowrank_groups`), unless asked
otherwise. A part that the dominant motion explains is static, or one that its images
tell to be (see `still_points`); the others are joined where they move alike.

Source: Ochs et al. 2014 (the largest difference over time tells tracks apart); Keuper
et al. 2015 (multicut of tracks, which finds the number of parts). Differs: residuals
against the dominant motion, so that a camera that moves cuts nothing; edges over any
distance between what rests.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from egojax.methods.motion_windows import WindowMotion
from egojax.methods.multicut import contract
from egojax.methods.still_points import Stillness

UNKNOWN, STATIC = -1, 0  # Groups of tracks; from 1 on, bodies that move.
LEAST_SEEN = 4  # Tracks of a part in a window that tell its motion there.


@dataclasses.dataclass(frozen=True)
class GroupSettings:
    """What counts as the same motion. Lengths are pixels; noise is the window's."""

    noise: float = 0.5  # At least, in any window.
    tolerance: float = 2.0  # Squared difference, in squared noise, that is still alike.
    repulsion: float = 6.0  # The most that an edge repels.
    turning: float = 0.5  # Of the motion, over 100 pixels: how it may change in a body.
    alike: float = 0.7  # Share of the motion by which parts of one body may differ.
    neighbours: int = 12
    calm: float = 3.0  # Times noise: a track that rests in every window.
    distant: int = 8  # Edges of each such track to others.
    moving: float = 4.0  # Times noise: parts whose residual is below are static,
    least_motion: float = 2.5  # and below so many pixels.
    typical: float = 75.0  # Percentile over windows, of a part's residual.
    least: int = 6  # Tracks of a part.


class Graph(NamedTuple):
    """Pairs of tracks of some windows: neighbours, and any that rest."""

    pairs: np.ndarray  # int64 (E, 2), each once, the smaller number first.
    gap: np.ndarray  # (E,): squared difference of residuals, in what is allowed.

    @property
    def alike(self) -> np.ndarray:
        """(E,), in (0, 1]: 1 = no difference."""
        return 1 / (1 + self.gap)


# Windows, their graph, how many tracks, a seed: to the part of each track, int (N,).
PartOf = Callable[[Sequence[WindowMotion], Graph, int, int], np.ndarray]


def group_tracks(
    windows: Sequence[WindowMotion],
    num_tracks: int,
    settings: GroupSettings | None = None,
    seed: int = 0,
    stillness: Stillness | None = None,
    part_of: PartOf | None = None,
) -> np.ndarray:
    """The group of each track, int64 (N,).

    Args:
      windows: Of tracks 0..N - 1.
      seed: Of the choice of distant edges.
      stillness: What images say of the tracks.
      part_of: What cuts the tracks into parts; None = a multicut of the graph.

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
    graph = track_graph(windows, len(numbers), settings, seed)
    if part_of is None:
        weights = np.clip(settings.tolerance - graph.gap, -settings.repulsion, None)
        part = contract(len(numbers), graph.pairs, weights)
    else:
        part = part_of(windows, graph, len(numbers), seed)
    size = np.bincount(part)
    motion = _typical_motion(windows, part, settings)
    static = (size >= settings.least) & (motion < 1)
    static[size.argmax()] = True
    if stillness is not None:
        known, likely = stillness.known[numbers], stillness.likely[numbers]
        static |= _are_still(part, known, likely)
    is_body = (size >= settings.least) & ~static & np.isfinite(motion)
    joined = _join_bodies(windows, part, np.flatnonzero(is_body), settings)
    joined.sort(key=lambda parts: -size[parts].sum())
    name = np.where(static, STATIC, UNKNOWN)
    for number, parts in enumerate(joined, start=1):
        name[parts] = number
    group[numbers] = name[part]
    return group


def join_alike(
    windows: Sequence[WindowMotion],
    group: np.ndarray,
    settings: GroupSettings | None = None,
) -> np.ndarray:
    """The groups, those that move alike in these windows as one, int64 (N,).

    Bodies that were found in different windows are compared in such that see both; of
    two that are joined the smaller number stays.
    """
    bodies = np.unique(group[group > STATIC])
    name = np.arange(max(int(group.max(initial=0)), 0) + 1)
    for parts in _join_bodies(windows, group, bodies, settings or GroupSettings()):
        name[parts] = min(parts)
    return np.where(group > STATIC, name[np.maximum(group, 0)], group)


# --------------------------------------------------------------------------- graph


def track_graph(
    windows: Sequence[WindowMotion],
    num_tracks: int,
    settings: GroupSettings | None = None,
    seed: int = 0,
) -> Graph:
    """How alike tracks move, in the window in which they are least so.

    Args:
      windows: One or more, of tracks 0..N - 1.
      seed: Of the choice of pairs that rest.
    """
    settings = settings or GroupSettings()
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
    return Graph(np.stack([key // num_tracks, key % num_tracks], -1), gap)


def _neighbour_pairs(middle: np.ndarray, count: int) -> np.ndarray:
    _, nearest = KDTree(middle).query(middle, k=min(count + 1, len(middle)))
    nearest = nearest.reshape(len(middle), -1)  # Of one point it has one axis.
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
        unit = max(settings.moving * window.noise, settings.least_motion)
        for p, rows in _rows_by_part(part[window.tracks]):
            if len(rows) >= LEAST_SEEN:
                middle = np.median(window.residual[:, rows], axis=1)
                found[p, n] = _strength(middle) / unit
    out = np.full(len(found), np.nan)
    seen = np.isfinite(found).any(1)
    out[seen] = np.nanpercentile(found[seen], settings.typical, axis=1)
    return out


def _are_still(part: np.ndarray, known: np.ndarray, likely: np.ndarray) -> np.ndarray:
    """Whether most of what is known of each part is likely to stand still."""
    count = np.bincount(part, known)
    return (count >= LEAST_SEEN) & (2 * np.bincount(part, likely & known) > count)


def _rows_by_part(part: np.ndarray) -> list[tuple[int, np.ndarray]]:
    order = np.argsort(part, kind="stable")
    numbers, begin = np.unique(part[order], return_index=True)
    return list(zip(numbers.tolist(), np.split(order, begin[1:]), strict=True))


# -------------------------------------------------------------------------- bodies


def _join_bodies(
    windows: Sequence[WindowMotion],
    part: np.ndarray,
    bodies: np.ndarray,
    settings: GroupSettings,
) -> list[list[int]]:
    """Parts by body: as long as any two differ little, the most alike are joined."""
    gaps = _body_gaps(windows, part, bodies, settings)
    members = [[n] for n in range(len(bodies))]
    while True:
        best, pair = 1.0, None
        for a, b in itertools.combinations(range(len(members)), 2):
            between = gaps[np.ix_(members[a], members[b])]
            known = between[np.isfinite(between)]
            if len(known) and known.max() < best:
                best, pair = known.max(), (a, b)
        if pair is None:
            return [bodies[rows].tolist() for rows in members]
        members[pair[0]] += members.pop(pair[1])


def _body_gaps(
    windows: Sequence[WindowMotion],
    part: np.ndarray,
    bodies: np.ndarray,
    settings: GroupSettings,
) -> np.ndarray:
    """How far the motions of parts differ, (B, B); below 1 they may be one body's.

    The mean over the windows that see both and in which one of them moves; NaN where
    there is none. How far apart the parts are tells nothing: to allow for a turn over
    the distance joins things that have nothing to do with each other.
    """
    total, count = np.zeros((2, len(bodies), len(bodies)))
    for window in windows:
        found = {
            p: rows
            for p, rows in _rows_by_part(part[window.tracks])
            if p in bodies and len(rows) >= LEAST_SEEN
        }
        seen = np.searchsorted(bodies, [*found])
        motion = [np.median(window.residual[:, r], axis=1) for r in found.values()]
        level = max(settings.noise, window.noise)
        for a, b in itertools.combinations(range(len(motion)), 2):
            strength = max(_strength(motion[a]), _strength(motion[b]))
            if strength < settings.calm * level:
                continue
            gap = _strength(motion[a] - motion[b])
            at = [seen[a], seen[b]], [seen[b], seen[a]]
            total[at] += gap / np.hypot(level, settings.alike * strength)
            count[at] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _strength(motion: np.ndarray) -> float:
    """The root mean square of a motion (T, 2), pixels."""
    return float(np.sqrt((motion**2).sum(-1).mean()))
