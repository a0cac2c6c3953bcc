"""Depth bounds, splits, slots and subsets of the frames of a radiance field.

On the host, in float64: computed once a clip. `near` and `far` are camera z in world
units. A `slot` is the row of a frame in the tables of time and appearance codes.

Source: NeuralDiff, colmap_converter/meta.py (bounds, splits), utils.py (appearance of
held-out frames).
"""

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

QUANTILES = (0.001, 0.999)  # Of the depth of points, as published.
MAX_SLOTS = 1 << 24  # More rows of codes than that are a mistake.
SLOTS_PER_FRAME = 4  # At most, where nobody says how many slots there are.

Slots = Literal["linear", "rank", "id"]


FARTHEST = 1e9  # World units; squares of what is nearer are far from float32's end.


class Bounds(NamedTuple):
    """Between which depths the scene of each frame lies."""

    near: np.ndarray  # float64 (T,); NaN where no point is in front.
    far: np.ndarray  # float64 (T,)


def near_far(
    points: np.ndarray,
    w2c: np.ndarray,
    quantiles: tuple[float, float] = QUANTILES,
) -> Bounds:
    """Quantiles of the depths of all points in front of each camera.

    Whether a point is seen is not asked. Points that are not finite do not count.

    Args:
      points: (P, 3), world units.
      w2c: (T, 4, 4)
      quantiles: Between order statistics they are linear.

    Returns:
      NaN for a frame without points in front. Of one point, near is far.
    """
    points = np.asarray(points, np.float64).reshape(-1, 3)
    points = points[np.isfinite(points).all(1)]
    found = np.full((len(w2c), 2), np.nan)
    for t, pose in enumerate(np.asarray(w2c, np.float64)):
        depth = points @ pose[2, :3] + pose[2, 3]
        ahead = depth[depth > 0]
        if ahead.size:
            found[t] = np.quantile(ahead, quantiles)
    return Bounds(found[:, 0], found[:, 1])


def floor_near(bounds: Bounds, quantile: float) -> Bounds:
    """Bounds whose near is at least this quantile of it over the video.

    A point that happens to lie on a camera makes near tiny, and samples that are even
    in disparity then all lie before it. A frame whose far is below the floor keeps its
    near.

    Args:
      quantile: In [0, 1]; 0 changes nothing.
    """
    near = bounds.near[np.isfinite(bounds.near)]
    if not near.size:
        return bounds
    floor = np.quantile(near, quantile)
    raised = np.where(floor < bounds.far, np.maximum(bounds.near, floor), bounds.near)
    return Bounds(raised, bounds.far)


def is_range(bounds: Bounds) -> np.ndarray:
    """Of which frames the bounds are of use, bool (T,): 0 < near < far < `FARTHEST`."""
    near, far = bounds
    return (near > 0) & (near < far) & (far < FARTHEST)


def split_frames(num_frames: int, every: int) -> tuple[str, ...]:
    """To which split each frame belongs: "train", "val" or "test".

    Of the frames in order, test gets every 2n-th from the first on, val every 2n-th
    from the n-th, train the rest.

    Args:
      every: n; 0 = all frames are to train on.

    Raises:
      ValueError: n is negative.
    """
    if every < 0:
        raise ValueError(f"a split with every={every}; expected 0 or more")
    if every == 0:
        return ("train",) * num_frames
    held = {0: "test", every: "val"}
    return tuple(held.get(t % (2 * every), "train") for t in range(num_frames))


def slots(
    ids: Sequence[int], num_slots: int | None = None, kind: Slots = "linear"
) -> np.ndarray:
    """The slot of each frame.

    Args:
      ids: Different numbers, such as frame numbers: where the frame is in time.
      num_slots: None = as many as are needed; linear, as many as keep the frames apart,
        up to `SLOTS_PER_FRAME` for each.
      kind: "linear" scales the ids to 0 to `num_slots - 1`, so that slots are even in
        time (close frames may share one); "rank" is the place in order; "id" is the id.

    Returns:
      int64 (T,), in [0, num_slots).

    Raises:
      ValueError: an id is there twice, or a slot is out of range.
    """
    numbers = [int(i) for i in ids]
    order = {number: place for place, number in enumerate(sorted(set(numbers)))}
    if len(order) < len(numbers):
        raise ValueError("a frame id is there twice")
    if not numbers:
        return np.zeros(0, np.int64)
    if kind not in get_args(Slots):
        raise ValueError(f"slots by {kind!r}; there are {', '.join(get_args(Slots))}")
    if kind == "linear":
        return _linear(numbers, num_slots)
    found = numbers if kind == "id" else [order[number] for number in numbers]
    low, high = min(found), max(found)
    limit = MAX_SLOTS if num_slots is None else num_slots
    if low < 0 or high >= limit:
        raise ValueError(f"slots {low} to {high} by {kind}; there are {limit}, from 0")
    return np.array(found, np.int64)


def _linear(numbers: list[int], num_slots: int | None) -> np.ndarray:
    """Rounded without floating point: nanoseconds have more digits than a float."""
    first, span = min(numbers), max(numbers) - min(numbers)
    if num_slots is None:
        ordered = sorted(numbers)
        gaps = [b - a for a, b in itertools.pairwise(ordered)]
        apart = 1 - (-span // min(gaps, default=1))
        num_slots = min(apart, SLOTS_PER_FRAME * len(numbers))
    if num_slots < 1:
        raise ValueError(f"{num_slots} slots; expected at least 1")
    last, whole = num_slots - 1, 2 * max(span, 1)
    return np.array(
        [(2 * (n - first) * last + max(span, 1)) // whole for n in numbers], np.int64
    )


def nearest_training(slots_train: np.ndarray, slots_query: np.ndarray) -> np.ndarray:
    """The nearest slot that was trained, for each; ties go to the smaller.

    Its appearance code is that of a held-out frame.

    Args:
      slots_train: (N,), in any order.
      slots_query: (M,)

    Returns:
      int64 (M,)

    Raises:
      ValueError: there is none.

    Source: NeuralDiff, utils.py.
    Differs: that looks at the neighbours among all frames, so that of two held-out
    frames side by side each takes the code of the other, which is not trained.
    """
    known = np.unique(np.asarray(slots_train, np.int64))
    if not known.size:
        raise ValueError("no slot was trained")
    query = np.asarray(slots_query, np.int64)
    above = np.clip(np.searchsorted(known, query), 0, len(known) - 1)
    below = np.maximum(above - 1, 0)
    is_below = np.abs(query - known[below]) <= np.abs(known[above] - query)
    return np.where(is_below, known[below], known[above])


def spread(num: int, wanted: int) -> list[int]:
    """Positions of `wanted` of `num` frames, evenly spaced with both ends; 0 = all.

    Source: NeuralDiff, evaluation/utils.py, sample_linear.
    """
    count = min(num, wanted) if wanted else num
    return np.linspace(0, num - 1, count).round().astype(int).tolist() if num else []


def strided(num: int, wanted: int) -> list[int]:
    """Positions of at most `wanted` of `num` frames, every n-th; 0 = all.

    Source: NeuralDiff, evaluation/video.py, render.
    """
    count = min(num, wanted) if wanted else num
    return list(range(0, num, -(-num // count))) if num else []
