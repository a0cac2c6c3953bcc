"""Which tracks stand still, by the images, though they seem to move (host).

Flow follows the edge of a shadow over a wall that stands still, and drags along what is
plain beside a thing that moves. So a track that moves against the dominant motion is
held against its images once more: around it the details of the middle frame of a window
either come back where the track went, or where a point at rest would be. Details are
what is fine in the logarithm of gray: a shadow leaves them as they are.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from egojax.methods.dense_flow import lookup
from egojax.methods.motion_windows import WindowMotion
from egojax.types import PointTracks

# The details of a frame, float32 (H, W); None = it cannot be read.
DetailsOf = Callable[[int], np.ndarray | None]

DARK = 8.0  # Of 255: below, the logarithm is flat, as noise is not detail.
FINEST, COARSEST = 0.7, 1.5  # Pixels: blur of what counts as detail.
FOCUS = 0.35  # Of the radius: how fast weights in a patch fall from its centre.


@dataclasses.dataclass(frozen=True)
class StillSettings:
    """When images say that a track stands still."""

    radius: int = 7  # Pixels, of the patches that are compared.
    search: int = 1  # Pixels about where a point at rest would be.
    apart: float = 2.0  # Pixels between both places, at least.
    # Correlations, weighed by contrast: standing still must have so much, and may
    # have so much less than moving, as tracks of 15 frames are not exact.
    least: float = 0.3
    margin: float = 0.1  # Of a track alone.
    part_margin: float = 0.3  # Of each track of a part, most of which must pass.


class Stillness(NamedTuple):
    """What images say of tracks 0..N - 1."""

    known: np.ndarray  # bool (N,), whether any window could tell.
    still: np.ndarray  # bool (N,), by itself.
    likely: np.ndarray  # bool (N,), if those around it are.

    def after(self, other: "Stillness") -> "Stillness":
        """What the other one says; of tracks that it knows nothing of, this one."""
        known = other.known
        return Stillness(
            self.known | known,
            np.where(known, other.still, self.still),
            np.where(known, other.likely, self.likely),
        )


def nothing_known(num_tracks: int) -> Stillness:
    """Before any image was looked at."""
    return Stillness(*np.zeros((3, num_tracks), bool))


def details(image: np.ndarray) -> np.ndarray:
    """What is fine in an image uint8 (H, W, 3), float32 (H, W): see the top."""
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    level = cv2.GaussianBlur(np.log(gray.astype(np.float32) + DARK), (0, 0), FINEST)
    return level - cv2.GaussianBlur(level, (0, 0), COARSEST)


def find_still(
    windows: Sequence[WindowMotion],
    tracks: PointTracks,
    details_of: DetailsOf,
    settings: StillSettings | None = None,
) -> Stillness:
    """Holds tracks that move against their images; see the top.

    Args:
      windows: Of these tracks.
      details_of: See `details`; called for the frames of a window, window by window.
    """
    settings = settings or StillSettings()
    moved, still, weight = np.zeros((3, len(tracks)))
    for window in windows:
        stop = window.start + len(window.residual)
        numbers, places = tracks.through(window.start, stop)
        row = np.searchsorted(numbers, window.tracks)
        found = _compare(window, places[:, row], details_of, settings)
        for total, part in zip((moved, still, weight), found, strict=True):
            np.add.at(total, window.tracks, part)
    known = weight > 0
    scale = np.where(known, weight, 1)
    moved, still = moved / scale, still / scale
    enough = known & (still > settings.least)
    return Stillness(
        known,
        enough & (still > moved - settings.margin),
        enough & (still > moved - settings.part_margin),
    )


def brought_to_rest(window: WindowMotion, still: np.ndarray) -> WindowMotion:
    """The window, with no residual of tracks that are still, bool (N,)."""
    rests = still[window.tracks]
    return window._replace(residual=np.where(rests[None, :, None], 0, window.residual))


def _compare(
    window: WindowMotion,
    places: np.ndarray,
    details_of: DetailsOf,
    settings: StillSettings,
) -> np.ndarray:
    """Sums over frames of correlation times contrast, moved and still, and contrast.

    Args:
      places: (T, n, 2), pixels.

    Returns:
      (3, n)
    """
    total = np.zeros((3, places.shape[1]))
    middle = len(places) // 2
    image = details_of(window.start + middle)
    if image is None:
        return total
    radius, search = settings.radius, settings.search
    patch, contrast = _normal(_patches(image, places[middle], radius))
    for t, residual in enumerate(window.residual):
        far = np.flatnonzero(np.linalg.norm(residual, axis=-1) > settings.apart)
        image = details_of(window.start + t) if len(far) else None
        if image is None:
            continue
        seen, goal = _patches(image, places[t, far], radius), patch[far]
        moved = (_normal(seen)[0] * goal).sum((1, 2))
        rest = places[t, far] - residual[far]
        around = _patches(image, rest, radius + search)
        still = np.max([(p * goal).sum((1, 2)) for p in _shifted(around, search)], 0)
        total[:, far] += np.stack([moved, still, np.ones(len(far))]) * contrast[far]
    return total


def _patches(image: np.ndarray, places: np.ndarray, radius: int) -> np.ndarray:
    """Squares about places (n, 2), float32 (n, side, side); borders repeat."""
    step = np.arange(-radius, radius + 1, dtype=np.float32)
    square = np.stack(np.meshgrid(step, step), -1)
    points = np.asarray(places, np.float32)[:, None, None] + square[None]
    found = lookup(image[..., None], points.reshape(-1, 2))
    return found.reshape(points.shape[:3])


def _normal(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patches whose products are correlations (0 where flat), and their deviations.

    The centre weighs most, so that beside an edge what a point is on decides.
    """
    side = patches.shape[1]
    step = (np.arange(side) - (side - 1) / 2) / (FOCUS * (side - 1) / 2)
    weights = np.exp(-(step[:, None] ** 2 + step[None] ** 2) / 2)
    weights = (weights / weights.sum()).astype(np.float32)[None]
    apart = patches - (patches * weights).sum((1, 2), keepdims=True)
    length = np.sqrt((apart**2 * weights).sum((1, 2)))
    unit = apart * np.sqrt(weights) / np.maximum(length, 1e-9)[:, None, None]
    return unit, length


def _shifted(around: np.ndarray, search: int) -> list[np.ndarray]:
    """The normal patches within larger ones, for each shift up to `search`."""
    side = around.shape[1] - 2 * search
    shifts = range(2 * search + 1)
    return [
        _normal(around[:, i : i + side, j : j + side])[0]
        for i in shifts
        for j in shifts
    ]
