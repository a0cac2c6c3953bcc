"""Windows of tracks straight from a tracker's files, as published training has them.

A frame's points are those of its own file and of its neighbours' that it sees; where
they are hidden, the tracker's guess counts. `track_windows` makes the same of tracks
that end where they are lost.

Source: Karazija et al. 2024 (LRTL), `datasets/flow_pair_detectron.py`. Differs: in
frames that a file does not reach, a point stays where it was, and is hidden.
"""

import functools
from typing import NamedTuple

import numpy as np

from egojax.errors import FrameError
from egojax.ops.trajectories import window
from egojax.types import Source, WindowTracks

NEIGHBOURS = 3  # Files, with the frame's own; at the ends the three that there are.
KEPT = 4  # Frames, those of a quadruple.


class _Points(NamedTuple):
    """What one file knows of a frame's points."""

    tracks_xy: np.ndarray  # float32 (T, n, 2)
    visible: np.ndarray  # bool (T, n)
    places: np.ndarray  # float32 (n, 2), in the frame itself, not smoothed.


class FileWindows:
    """The windows around the frames of a clip, read as they are asked for."""

    def __init__(
        self,
        files: Source[WindowTracks | None],
        half: int,
        size_hw: tuple[int, int],
        smooth: int = 0,
    ):
        """Reads nothing yet.

        Args:
          files: Of each frame its file; None where there is none.
          half: Frames on each side of the middle.
          size_hw: Of the images that places are to be pixels of.
          smooth: Frames of a moving average over time, odd; 0 = places as they are.

        Raises:
          ValueError: an even moving average.
        """
        if smooth and smooth % 2 == 0:
            raise ValueError(f"smooth={smooth}; expected an odd number of frames")
        self._files, self._half, self._size_hw = files, half, size_hw
        self._smooth = smooth
        self._read = functools.lru_cache(KEPT)(self._read_frame)

    def around(self, frame: int) -> WindowTracks:
        """The points that a frame sees, through the 2 half + 1 frames around it.

        Raises:
          ValueError: no such frame, or a clip too short to be reflected.
        """
        return self._read(frame)[0]

    def places(self, frame: int) -> np.ndarray:
        """Where a frame sees these points (n, 2); not smoothed."""
        return self._read(frame)[1]

    def _read_frame(self, frame: int) -> tuple[WindowTracks, np.ndarray]:
        count = len(self._files)
        found = window(count, frame, self._half)
        first = max(0, min(frame - 1, count - NEIGHBOURS))
        parts = [
            part
            for t in range(first, min(first + NEIGHBOURS, count))
            if (part := self._part(t, frame, found.frames)) is not None
        ]
        length = len(found.frames)
        none = _Points(
            np.zeros((length, 0, 2), np.float32),
            np.zeros((length, 0), bool),
            np.zeros((0, 2), np.float32),
        )
        tracks, visible, places = zip(none, *parts, strict=True)
        tracks = WindowTracks(
            np.concatenate(tracks, 1),
            np.concatenate(visible, 1),
            found.frames.astype(np.int32),
            found.own,
            self._size_hw,
        )
        return tracks, np.concatenate(places)

    def _part(self, t: int, frame: int, frames: np.ndarray) -> _Points | None:
        """Of the file of frame t; None where it does not know the frame."""
        try:
            given = self._files[t]
        except FrameError:  # It was told of where the tracks were imported.
            return None
        if given is None or frame not in given.frames:
            return None
        own = int(np.searchsorted(given.frames, frame))
        seen = given.visibility[own]
        (high, wide), (height, width) = given.size_hw, self._size_hw
        scale = np.array([width / wide, height / high], np.float32)
        xy = given.tracks_xy[:, seen] * scale
        at = np.clip(np.searchsorted(given.frames, frames), 0, len(xy) - 1)
        is_known = given.frames[at] == frames
        moved = _averages(xy, at, self._smooth // 2)
        visible = given.visibility[:, seen][at] & is_known[:, None]
        return _Points(moved, visible, xy[own])


def _averages(xy: np.ndarray, at: np.ndarray, half: int) -> np.ndarray:
    """Means (len(at), n, 2) of the frames up to `half` away that there are."""
    sums = np.cumsum(xy, 0, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(sums[:1]), sums])
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(xy))
    return ((sums[high] - sums[low]) / (high - low)[:, None, None]).astype(np.float32)
