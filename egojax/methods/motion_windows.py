"""How points of a window move against what most of the scene does.

In each window of some frames the dominant motion, as a rule that of the static scene
before a moving camera, is taken out of the tracks that last through it. What is left of
a static point is noise, and parallax where the scene is far from a plane.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from egojax.ops import dominant_flow
from egojax.types import PointTracks

LEAST_POINTS = 30  # Of a window that tells anything.
CELL = 1 / 10  # Of the image's width: points in one cell weigh as one.
PADDING = 512  # Counts of points are multiples of it, so that few programs compile.


class WindowMotion(NamedTuple):
    """The tracks that last through a window, without its dominant motion."""

    start: int
    tracks: np.ndarray  # int64 (n,), their numbers.
    middle: np.ndarray  # float32 (n, 2), where each is on the average, pixels.
    residual: np.ndarray  # float32 (T, n, 2), pixels.
    noise: float  # Pixels: the median of the tracks' root mean square residuals.

    @property
    def error(self) -> np.ndarray:
        """(n,), the root mean square of each residual, pixels."""
        return np.sqrt((self.residual**2).sum(-1).mean(0))


def windows(
    tracks: PointTracks, start: int, stop: int, length: int, hop: int
) -> Iterator[WindowMotion]:
    """Yields the windows of frames start..stop - 1 with tracks enough to tell a motion.

    Args:
      length: Frames of a window.
      hop: Frames from one to the next; the last one ends at `stop`.
    """
    begins = [*range(start, stop - length, hop), stop - length]
    for begin in begins:
        if begin < start:
            continue
        numbers, places = tracks.through(begin, begin + length)
        if len(numbers) >= LEAST_POINTS:
            residual = without_dominant(places, tracks.size_hw)
            error = np.sqrt((residual**2).sum(-1).mean(0))
            yield WindowMotion(
                begin, numbers, places.mean(0), residual, float(np.median(error))
            )


def without_dominant(places: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Tracks without the motion that most of the image follows, (T, n, 2).

    Args:
      places: float32 (T, n, 2), pixels.
    """
    frames, count, _ = places.shape
    padded = np.zeros((frames, -(-count // PADDING) * PADDING, 2), np.float32)
    weights = np.zeros(padded.shape[1], np.float32)
    padded[:, :count] = places
    weights[:count] = _shares(places[frames // 2], size_hw)
    return np.asarray(dominant_flow.dominant_residual(padded, weights))[:, :count]


def _shares(places: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Weights of points, the same for each part of the image that has any."""
    cell = np.floor(places / (CELL * size_hw[1])).astype(np.int64)
    _, which, count = np.unique(cell, axis=0, return_inverse=True, return_counts=True)
    return 1.0 / count[which.ravel()]
