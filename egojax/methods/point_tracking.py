"""Points followed through a clip by chaining optical flow, and sown anew.

A point lives as long as the flow that leads on leads back, inside the image and off
motion boundaries. New ones are sown on a grid, in cells that hold none and have
texture: so that tracks are few, and right.

Source: Sundaram et al. 2010 (dense point trajectories). Differs: points are sown on a
grid, not on all pixels with texture; a fixed tolerance, as one that grows with the flow
lets points slip off what moves fast.
"""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np

from egojax.methods.dense_flow import lookup, motion_boundary, under
from egojax.types import PointTracks


@dataclasses.dataclass(frozen=True)
class TrackSettings:
    """How points are sown and lost."""

    stride: int = 6  # Pixels between points of the grid.
    tolerance: float = 0.5  # Pixels that forward and backward flow may disagree by.
    texture: float = 0.125  # Of the mean of the image's corner strength, at least.
    max_frames: int = 0  # That a point is followed through; 0 = as long as it can be.


class TrackState(NamedTuple):
    """The points that are alive."""

    frame: int  # The frame that is next.
    next_id: int
    ids: np.ndarray  # int64 (n,), in the order in which tracks began.
    places: np.ndarray  # float32 (n, 2), pixels.
    born: np.ndarray  # int64 (n,), the frame that each began in.


class Seen(NamedTuple):
    """The tracks of one frame."""

    frame: int
    ids: np.ndarray
    places: np.ndarray


def start() -> TrackState:
    """Before the first frame."""
    none = np.zeros(0, np.int64)
    return TrackState(0, 0, none, np.zeros((0, 2), np.float32), none)


def skip(state: TrackState) -> TrackState:
    """Past a frame that cannot be read: every track ends."""
    return start()._replace(frame=state.frame + 1, next_id=state.next_id)


def step(
    state: TrackState,
    image: np.ndarray,
    flow: np.ndarray | None,
    back: np.ndarray | None,
    onward: np.ndarray | None,
    settings: TrackSettings,
) -> tuple[TrackState, Seen]:
    """One frame on.

    Args:
      image: uint8 (H, W, 3).
      flow: float32 (H, W, 2), from the frame before to this one; None = not known (as
        for the first frame): every track ends, and new ones begin.
      back: From this one to the one before.
      onward: From this one to the next, for its boundaries; None at the end.
    """
    ids, places, born = state.ids[:0], state.places[:0], state.born[:0]
    if flow is not None and back is not None:
        places, kept = advance(state.places, flow, back, settings.tolerance)
        kept &= ~under(motion_boundary(flow), state.places)
        if settings.max_frames:
            kept &= state.frame - state.born < settings.max_frames
        ids, places, born = state.ids[kept], places[kept], state.born[kept]
    new = _sown(image, places, onward, settings)
    ids = np.concatenate([ids, state.next_id + np.arange(len(new))])
    places = np.concatenate([places, new])
    born = np.concatenate([born, np.full(len(new), state.frame)])
    after = TrackState(state.frame + 1, state.next_id + len(new), ids, places, born)
    return after, Seen(state.frame, ids, places)


def advance(
    places: np.ndarray, flow: np.ndarray, back: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where points go (N, 2), and whether they are still to be trusted, bool (N,)."""
    move = lookup(flow, places)
    there = places + move
    gap = np.linalg.norm(move + lookup(back, there), axis=-1)
    high, wide = flow.shape[:2]
    inside = ((there >= 0.5) & (there <= (wide - 0.5, high - 0.5))).all(-1)
    return there, inside & (gap < tolerance)


def _sown(
    image: np.ndarray,
    places: np.ndarray,
    onward: np.ndarray | None,
    settings: TrackSettings,
) -> np.ndarray:
    """New points in cells of the grid that hold none."""
    high, wide = image.shape[:2]
    stride = settings.stride
    rows, columns = (
        np.arange(stride // 2, high, stride),
        np.arange(stride // 2, wide, stride),
    )
    free = np.ones((len(rows), len(columns)), bool)
    cell = np.floor(places / stride).astype(int)
    free[cell[:, 1].clip(0, len(rows) - 1), cell[:, 0].clip(0, len(columns) - 1)] = (
        False
    )
    free &= corner_strength(image)[np.ix_(rows, columns)] > settings.texture
    if onward is not None:
        free &= ~motion_boundary(onward)[np.ix_(rows, columns)]
    row, column = np.nonzero(free)
    return np.stack([columns[column], rows[row]], -1).astype(np.float32) + np.float32(
        0.5
    )


def corner_strength(image: np.ndarray) -> np.ndarray:
    """How well a place can be told in both directions, (H, W); the mean is 1."""
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0).astype(np.float32)
    strength = cv2.cornerMinEigenVal(smooth, 7, ksize=3)
    mean = strength.mean()
    return strength / mean if mean > 0 else np.zeros_like(strength)


def gather(frames: Iterable[Seen], size_hw: tuple[int, int]) -> PointTracks:
    """The tracks that were seen in frames, in order."""
    seen = [frame for frame in frames if len(frame.ids)]
    if not seen:
        none = np.zeros(0, np.int32)
        return PointTracks(none, none, np.zeros((0, 2), np.float32), size_hw)
    ids = np.concatenate([frame.ids for frame in seen])
    when = np.concatenate([np.full(len(f.ids), f.frame, np.int32) for f in seen])
    order = np.argsort(ids, kind="stable")  # Frames of a track stay in order.
    _, begin, count = np.unique(ids[order], return_index=True, return_counts=True)
    places = np.concatenate([frame.places for frame in seen])[order]
    return PointTracks(when[order][begin], count.astype(np.int32), places, size_hw)
