"""Which 2D ids a tracker gives to the true objects, and where it goes wrong.

A state machine over frames: `step(state, at, boxes, category)` takes the boxes of the
true objects in view and returns who carries which 2D id, what is missed, split, merged
or invented. All draws come from (seed, fault, frame), so that the strength of one fault
does not change another.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

# Streams of random numbers: one fault's draws do not depend on another's strength.
IDS, SWAPS, MISSES, SPLITS, MERGES, CATEGORIES, INVENTIONS = range(7)
OUTLINES, FEATURES, DEPTH, POSES, EXPOSURE, LAMP = range(7, 13)


@dataclasses.dataclass(frozen=True)
class Imperfections:
    """The strength of every fault; all zero leaves the truth as it is."""

    forget_after: int = 0  # Out of view for longer than this: a new 2D id. 0 = never.
    switch_rate: float = 0.0  # A visible object gets a new 2D id for no reason.
    swap_rate: float = 0.0  # Two look-alikes close in the image exchange their 2D ids.
    miss_rate: float = 0.0  # A visible object is not segmented for a while.
    split_rate: float = 0.0  # A segment falls into two for a while.
    merge_rate: float = 0.0  # Two objects close in the image become one segment.
    fault_frames: float = 8.0  # Mean length of a miss, split or merge.
    wrong_category: float = 0.0  # Share of 2D ids with a wrong category.
    false_rate: float = 0.0  # Segments on the background, per second.
    outline_px: float = 0.0  # How far outlines wander, in a frame 456 pixels wide.
    feature_noise: float = 0.0  # Noise of a feature, relative to its length.
    instance_share: float = 0.1  # How much look-alikes differ in their features.
    depth_scale: float = 1.0  # Monocular depth = (depth - shift) / scale, and errors.
    depth_shift: float = 0.0
    depth_error: float = 0.0  # Smooth relative error over the image, one sigma.
    depth_jitter: float = 0.0  # Relative change of the scale from frame to frame.
    pose_metres: float = 0.0  # Drifting pose error, one sigma.
    pose_degrees: float = 0.0
    pose_frames: float = 30.0  # In which it becomes another; 1 = new in each frame.
    exposure_stops: float = 0.0  # Drifting error of the exposure, one sigma.
    lamp: float = 0.0  # Light of a lamp that goes on and off, over that of the room.


class FaultState(NamedTuple):
    """Which 2D id every true object has, and what is wrong with it; rows by object."""

    segment: np.ndarray  # Serial number of its 2D id, 0 = none yet.
    category: np.ndarray  # That the 2D id carries.
    last_seen: np.ndarray  # Frame.
    missed_until: np.ndarray  # Frame (exclusive).
    split_until: np.ndarray
    split_segment: np.ndarray  # Serial number of the second half.
    split_angle: np.ndarray
    merged_until: np.ndarray
    merged_with: np.ndarray  # Row of the object whose id it takes.
    false_until: np.ndarray  # Rows: slots of false segments.
    false_segment: np.ndarray
    false_category: np.ndarray
    false_ellipse: np.ndarray  # (slots, 5): x, y, half axes, angle; relative.
    next_segment: int


class Moment(NamedTuple):
    """A frame of a faulty clip."""

    t: int
    seed: int
    fps: float
    faults: Imperfections

    def rng(self, stream: int) -> np.random.Generator:
        return random(self.seed, stream, self.t)

    def chance(self, rate: float) -> float:
        """The chance in this frame of what happens `rate` times a second."""
        return rate / self.fps


def random(seed: int, stream: int, t: int = 0) -> np.random.Generator:
    """The random numbers of one fault in one frame."""
    return np.random.default_rng([seed, stream, t])


def drift(
    rng: np.random.Generator, num_frames: int, frames: float, size: int
) -> np.ndarray:
    """What wanders in `frames` frames from one draw to the next, (T, size), sigma 1."""
    place = np.arange(num_frames) / frames
    knots = rng.normal(size=(int(num_frames / frames) + 4, size))
    low = place.astype(int)
    weight = (1.0 - np.cos(np.pi * (place - low))) / 2.0
    return (1.0 - weight)[:, None] * knots[low] + weight[:, None] * knots[low + 1]


def first(num_objects: int, slots: int = 2) -> FaultState:
    """Nobody has an id yet; at most `slots` false segments at a time."""
    zero, free = np.zeros(num_objects, np.int64), np.zeros(slots, np.int64)
    return FaultState(
        segment=zero,
        category=zero,
        last_seen=zero - 1,
        missed_until=zero,
        split_until=zero,
        split_segment=zero,
        split_angle=np.zeros(num_objects),
        merged_until=zero,
        merged_with=np.arange(num_objects),
        false_until=free,
        false_segment=free,
        false_category=free,
        false_ellipse=np.zeros((slots, 5)),
        next_segment=1,
    )


def step(
    state: FaultState,
    now: Moment,
    boxes: np.ndarray,
    true_category: np.ndarray,
    num_categories: int,
) -> FaultState:
    """One frame on.

    Args:
      state: After the frame before (`first` at the start).
      now: The frame, and what may go wrong.
      boxes: (K, 4) of the true objects, x0 y0 x1 y1 in pixels; empty = out of view.
      true_category: (K,)
      num_categories: Categories that a wrong guess may fall on.
    """
    seen = boxes[:, 2] > boxes[:, 0]
    state = _name(state, now, seen, true_category, num_categories)
    state = _swap(state, now, boxes, true_category)
    state = _miss(state, now, seen)
    state = _split(state, now, seen)
    state = _merge(state, now, boxes)
    state = _invent(state, now, num_categories)
    return state._replace(last_seen=np.where(seen, now.t, state.last_seen))


def _name(
    state: FaultState,
    now: Moment,
    seen: np.ndarray,
    true_category: np.ndarray,
    num_categories: int,
) -> FaultState:
    """Gives 2D ids: to what is new, long unseen, or for no reason."""
    away = now.t - state.last_seen - 1
    forgotten = (away > now.faults.forget_after) & (now.faults.forget_after > 0)
    slips = now.rng(IDS).random(len(seen)) < now.chance(now.faults.switch_rate)
    fresh = seen & ((state.segment == 0) | forgotten | slips)
    segment, num = _fresh_ids(state, state.segment, fresh)
    rng = now.rng(CATEGORIES)
    wrong = rng.random(len(seen)) < now.faults.wrong_category
    other = rng.integers(1, max(2, num_categories), len(seen))
    drawn = np.where(wrong, (true_category + other) % num_categories, true_category)
    category = np.where(fresh, drawn, state.category)
    return state._replace(segment=segment, category=category, next_segment=num)


def _fresh_ids(
    state: FaultState, ids: np.ndarray, fresh: np.ndarray
) -> tuple[np.ndarray, int]:
    """New serial numbers for the marked rows, and the next free one."""
    ids = ids.copy()
    ids[fresh] = state.next_segment + np.arange(fresh.sum())
    return ids, state.next_segment + int(fresh.sum())


def _swap(
    state: FaultState, now: Moment, boxes: np.ndarray, true_category: np.ndarray
) -> FaultState:
    """Look-alikes that are close in the image exchange their 2D ids."""
    segment, category = state.segment.copy(), state.category.copy()
    draws = now.rng(SWAPS).random((len(segment), len(segment)))
    for i, j in _neighbours(boxes, reach=1.0):
        alike = true_category[i] == true_category[j]
        if alike and draws[i, j] < now.chance(now.faults.swap_rate):
            segment[[i, j]], category[[i, j]] = segment[[j, i]], category[[j, i]]
    return state._replace(segment=segment, category=category)


def _lasting(
    now: Moment, rng: np.random.Generator, until: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Starts faults of geometric length where none is under way: (until, started)."""
    starts = (rng.random(len(until)) < now.chance(rate)) & (until <= now.t)
    lengths = rng.geometric(1.0 / max(1.0, now.faults.fault_frames), len(until))
    return np.where(starts, now.t + lengths, until), starts


def _miss(state: FaultState, now: Moment, seen: np.ndarray) -> FaultState:
    until, _ = _lasting(now, now.rng(MISSES), state.missed_until, now.faults.miss_rate)
    return state._replace(missed_until=np.where(seen, until, state.missed_until))


def _split(state: FaultState, now: Moment, seen: np.ndarray) -> FaultState:
    rng = now.rng(SPLITS)
    until, starts = _lasting(now, rng, state.split_until, now.faults.split_rate)
    starts &= seen
    segment, num = _fresh_ids(state, state.split_segment, starts)
    angle = rng.uniform(0.0, np.pi, len(seen))
    return state._replace(
        split_until=np.where(starts, until, state.split_until),
        split_segment=segment,
        split_angle=np.where(starts, angle, state.split_angle),
        next_segment=num,
    )


def _merge(state: FaultState, now: Moment, boxes: np.ndarray) -> FaultState:
    until, partner = state.merged_until.copy(), state.merged_with.copy()
    rng = now.rng(MERGES)
    draws = rng.random((len(until), len(until)))
    lengths = rng.geometric(1.0 / max(1.0, now.faults.fault_frames), len(until))
    for i, j in _neighbours(boxes, reach=0.2):
        free = until[i] <= now.t and until[j] <= now.t
        if free and draws[i, j] < now.chance(now.faults.merge_rate):
            until[i], partner[i] = now.t + lengths[i], j
    return state._replace(merged_until=until, merged_with=partner)


def _invent(state: FaultState, now: Moment, num_categories: int) -> FaultState:
    """Segments on the background: an ellipse that stays for a while."""
    rng = now.rng(INVENTIONS)
    slots = len(state.false_until)
    rate = now.faults.false_rate / slots
    until, starts = _lasting(now, rng, state.false_until, rate)
    segment, num = _fresh_ids(state, state.false_segment, starts)
    low, high = (0.1, 0.1, 0.04, 0.04, 0.0), (0.9, 0.9, 0.12, 0.12, 180.0)
    ellipse = rng.uniform(low, high, (slots, 5))
    category = rng.integers(0, num_categories, slots)
    return state._replace(
        false_until=until,
        false_segment=segment,
        false_category=np.where(starts, category, state.false_category),
        false_ellipse=np.where(starts[:, None], ellipse, state.false_ellipse),
        next_segment=num,
    )


def _neighbours(boxes: np.ndarray, reach: float) -> list[tuple[int, int]]:
    """Pairs in view whose boxes, widened by a share of their size, overlap."""
    seen = np.flatnonzero(boxes[:, 2] > boxes[:, 0])
    size = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    grow = np.stack([-size, -size, size, size], axis=1) * (reach / 2)
    wide = boxes + grow
    pairs = []
    for n, i in enumerate(seen):
        for j in seen[n + 1 :]:
            low = np.maximum(wide[i, :2], wide[j, :2])
            high = np.minimum(wide[i, 2:], wide[j, 2:])
            if (high > low).all():
                pairs.append((int(i), int(j)))
    return pairs
