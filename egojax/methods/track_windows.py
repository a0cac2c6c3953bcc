"""Points of a frame through the frames around it, for losses of whole windows (host).

Few points are tracked for all of a window. Where one is not, its place is a guess: from
the last place that is known it moves, frame by frame, as the nearest points move that
are tracked there; so does it backward in time, before its first place. A point that
leaves the image, or goes behind something, goes on with what is around it.

Source: Karazija et al. 2024 (LRTL), `datasets/flow_pair_detectron.py`, for windows,
smoothing and the draw. Differs: the guesses, which there are the tracker's own; points
that are drawn twice are points of weight two.
"""

import numpy as np
from scipy.spatial import KDTree

from egojax.ops.trajectories import window
from egojax.types import PointTracks, WindowTracks

NEAREST = 4  # Points that a guess follows, in the mean.
SMOOTH = 11  # Frames of the published moving average.


class TrackWindows:
    """The windows around the frames of a clip; guesses are made once, for all."""

    def __init__(
        self, tracks: PointTracks, half: int, num_frames: int, smooth: int = 0
    ):
        """Finds all places that a window may need.

        Args:
          tracks: Of the clip.
          half: Frames on each side of the middle.
          num_frames: Of the clip.
          smooth: Frames of a moving average over time, odd; 0 = places as they are.

        Raises:
          ValueError: an even moving average, or tracks that leave the clip.
        """
        reach = 2 * half + smooth // 2
        self._half, self._num_frames, self._tracks = half, num_frames, tracks
        longer = lengthened(tracks, reach, num_frames)
        self._longer = smoothed(longer, smooth) if smooth else longer
        self._offset = self._longer.offset

    def around(self, frame: int) -> WindowTracks:
        """The points that a frame sees; see `window_around`."""
        found = window(self._num_frames, frame, self._half)
        first, count = self._tracks.first, self._tracks.count
        seen = np.flatnonzero((first <= frame) & (frame < first + count))
        frames = found.frames.astype(np.int32)
        age = frames[:, None] - first[seen][None]
        rows = self._offset[seen] - self._longer.first[seen] + frames[:, None]
        return WindowTracks(
            tracks_xy=self._longer.xy[rows],
            visibility=(age >= 0) & (age < count[seen][None]),
            frames=frames,
            query=found.own,
            size_hw=self._tracks.size_hw,
        )

    def places(self, frame: int) -> np.ndarray:
        """Where a frame sees the points that it sees (n, 2); not smoothed."""
        return self._tracks.at(frame)[1]


def window_around(
    tracks: PointTracks, frame: int, half: int, num_frames: int
) -> WindowTracks:
    """The points that a frame sees, through the 2 half + 1 frames around it.

    Where a point is not tracked it is not visible, and its place is a guess (see the
    top). For many frames of a clip, make `TrackWindows` once.

    Args:
      tracks: Of the clip.
      frame: From 0.
      half: Frames on each side. At the ends of the clip the window is shifted inside;
        a clip that is shorter is reflected, and its frames come twice
        (`ops.trajectories.window`).
      num_frames: Of the clip.

    Raises:
      ValueError: no such frame, tracks that leave the clip, or a clip too short to be
        reflected.
    """
    return TrackWindows(tracks, half, num_frames).around(frame)


def lengthened(tracks: PointTracks, by: int, num_frames: int) -> PointTracks:
    """The same tracks, with guesses (see the top) for so many frames at both ends.

    Args:
      tracks: Of a clip.
      by: Frames, or as many as the clip has there.
      num_frames: Of the clip.

    Raises:
      ValueError: tracks that leave the clip.
    """
    stop = tracks.first + tracks.count
    if len(tracks) and (tracks.first.min() < 0 or stop.max() > num_frames):
        raise ValueError(f"tracks leave the clip of {num_frames} frames")
    first = np.maximum(tracks.first - by, 0)
    count = np.minimum(stop + by, num_frames) - first
    where = np.cumsum(count, dtype=np.int64) - count - first  # Row of frame 0.
    xy = np.zeros((int(count.sum()), 2), np.float32)
    own = np.repeat(tracks.first + where - tracks.offset, tracks.count)
    xy[own + np.arange(len(tracks.xy))] = tracks.xy
    for here in range(num_frames - 1):
        lost = np.flatnonzero((stop <= here + 1) & (first + count > here + 1))
        _carry(xy, where[lost], tracks, here, here + 1)
    for here in range(num_frames - 1, 0, -1):
        ahead = np.flatnonzero((tracks.first >= here) & (first < here))
        _carry(xy, where[ahead], tracks, here, here - 1)
    kind = tracks.first.dtype
    return PointTracks(first.astype(kind), count.astype(kind), xy, tracks.size_hw)


def _carry(
    xy: np.ndarray, where: np.ndarray, tracks: PointTracks, here: int, there: int
) -> None:
    """Sets the places of points in frame `there` by those in frame `here`.

    Args:
      xy: Places; changed.
      where: Of the points to be moved, the rows of their frame 0.
      tracks: What is tracked.
      here, there: Frames that follow each other, either way.
    """
    if not len(where):
        return
    start = xy[where + here]
    _, places = tracks.through(min(here, there), max(here, there) + 1)
    shift = np.zeros_like(start)
    if places.shape[1]:
        before, after = places if here < there else places[::-1]
        count = min(NEAREST, len(before))
        _, near = KDTree(before).query(start, k=np.arange(1, count + 1))
        shift = (after - before)[near].mean(1)
    xy[where + there] = start + shift


def smoothed(tracks: PointTracks, length: int = SMOOTH) -> PointTracks:
    """Moving averages over time; near the ends of a track, of the frames it has.

    Raises:
      ValueError: an even length.
    """
    if length % 2 == 0:
        raise ValueError(f"length={length}; expected an odd number of frames")
    age = np.arange(len(tracks.xy)) - np.repeat(tracks.offset, tracks.count)
    left = np.repeat(tracks.count, tracks.count) - 1 - age
    total, frames = np.zeros_like(tracks.xy), np.ones(len(age), np.float32)
    for step in range(1, min(length // 2, len(age)) + 1):
        for has, way in ((left >= step, step), (age >= step, -step)):
            rows = np.flatnonzero(has)
            # Differences, which are small: sums of places would lose digits.
            total[rows] += tracks.xy[rows + way] - tracks.xy[rows]
            frames[rows] += 1
    xy = tracks.xy + total / frames[:, None]
    return PointTracks(tracks.first, tracks.count, xy, tracks.size_hw)


def draw_points(
    valid: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Exactly `count` of the points that are valid, as rows and weights.

    Of too many, some, each once. Of too few, all, and as many again as are missing are
    drawn from them: a point that comes c times has weight c, and rows of weight 0 fill
    up. So weights sum to `count`, unless nothing is valid.

    Args:
      valid: bool (M,)
      count: Rows to come.
      rng: Of the draw.

    Returns:
      Rows int64 (count,), 0 where the weight is 0, and weights float32 (count,).
    """
    there = np.flatnonzero(valid)
    rows, weights = np.zeros(count, np.int64), np.zeros(count, np.float32)
    if len(there) >= count:
        rows[:] = rng.choice(there, count, replace=False)
        weights[:] = 1
    elif len(there):
        more = rng.integers(0, len(there), count - len(there))
        rows[: len(there)] = there
        weights[: len(there)] = 1 + np.bincount(more, minlength=len(there))
    return rows, weights
