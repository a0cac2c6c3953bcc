"""Windows of tracks, one a frame, as the point tracks of a clip (host).

A tracker that was run for every frame has each place many times over. Points are taken
frame by frame, where no point that was taken before is seen: at most one a cell of a
grid. What is seen of a point in frames that follow each other is a track.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from egojax.types import PointTracks, WindowTracks


class Runs(NamedTuple):
    """Frames in a row in which a point is seen."""

    first: np.ndarray  # int32 (R,)
    count: np.ndarray  # int32 (R,), >= 1.
    xy: np.ndarray  # float32 (M, 2), run after run.


def runs_of(tracks: WindowTracks, num_frames: int, size_hw: tuple[int, int]) -> Runs:
    """The runs of a window's points, point by point, in images of a size.

    Args:
      tracks: Through frames that follow each other.
      num_frames: Of the clip; frames beyond it are left out.
      size_hw: Of its images; places are scaled to it, and not seen outside of it.

    Raises:
      ValueError: frames that do not follow each other.
    """
    frames = np.asarray(tracks.frames)
    if (np.diff(frames) != 1).any():
        raise ValueError(f"frames {frames}: expected all from the first to the last")
    places, seen = _scaled(tracks, size_hw)
    seen = seen & ((frames >= 0) & (frames < num_frames))[:, None]
    by_point = np.pad(seen.T, ((0, 0), (1, 1)))
    _, begin = np.nonzero(by_point[:, 1:-1] & ~by_point[:, :-2])
    _, end = np.nonzero(by_point[:, 1:-1] & ~by_point[:, 2:])
    first = frames[begin].astype(np.int32)
    xy = places.transpose(1, 0, 2)[seen.T]
    return Runs(first, (end - begin + 1).astype(np.int32), xy)


def _scaled(
    tracks: WindowTracks, size_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Places (T, N, 2) in images of a size, and whether they are seen inside (T, N)."""
    (high, wide), (height, width) = size_hw, tracks.size_hw
    scale = np.array([wide / width, high / height], np.float32)
    places = tracks.tracks_xy.astype(np.float32) * scale
    inside = ((places >= 0) & (places < (wide, high))).all(-1)
    return places, tracks.visibility & inside


def thinned(
    windows: Iterable[WindowTracks],
    num_frames: int,
    size_hw: tuple[int, int],
    stride: int,
) -> PointTracks:
    """The point tracks of a clip from the windows of its frames, in order.

    Args:
      windows: Of some frames, or of all.
      num_frames: Of the clip.
      size_hw: Of its images.
      stride: Pixels a cell; a cell that shows a point of an earlier window gets none.
    """
    cells = -(-size_hw[0] // stride), -(-size_hw[1] // stride)
    is_taken = np.zeros((num_frames, *cells), bool)
    found = []
    for window in windows:
        rows = _free(window, is_taken, size_hw, stride)
        picked = WindowTracks(
            *(window.tracks_xy[:, rows], window.visibility[:, rows]),
            *(window.frames, window.query, window.size_hw),
        )
        runs = runs_of(picked, num_frames, size_hw)
        age = np.arange(len(runs.xy)) - np.repeat(
            np.cumsum(runs.count, dtype=np.int64) - runs.count, runs.count
        )
        when = np.repeat(runs.first, runs.count) + age
        column, row = np.floor(runs.xy / stride).astype(int).T
        is_taken[when, row, column] = True
        found.append(runs)
    if not found:
        none = np.zeros(0, np.int32)
        return PointTracks(none, none, np.zeros((0, 2), np.float32), size_hw)
    first, count, xy = map(np.concatenate, zip(*found, strict=True))
    return PointTracks(first, count, xy, size_hw)


def _free(
    window: WindowTracks, is_taken: np.ndarray, size_hw: tuple[int, int], stride: int
) -> np.ndarray:
    """Points that their frame sees in cells that are free, one in each."""
    frame = int(window.frames[window.query])
    if not 0 <= frame < len(is_taken):
        return np.zeros(0, np.int64)
    places, seen = _scaled(window, size_hw)
    there = np.flatnonzero(seen[window.query])
    column, row = np.floor(places[window.query, there] / stride).astype(int).T
    free = ~is_taken[frame, row, column]
    _, one = np.unique(row[free] * 2**20 + column[free], return_index=True)
    return there[free][np.sort(one)]
