"""The point tracks of a clip on disk, and the group of each.

points.npz   first, count   int32 (N,), see `types.PointTracks`
             xy             int16 (M, 2), steps of a pixel, track after track
             steps          int: steps in a pixel, see `steps_per_pixel`
             size           int (2,): height and width of the images
             version        int: 1
groups.npz   group          int32 (N,): -1 unknown, 0 static, from 1 on bodies

Half floats, in which the official extraction keeps pixels, are a half pixel apart from
512 on, which alone adds several percent to the low-rank loss.
"""

import math
import pathlib
from typing import Any

import numpy as np

from egojax.data import arrays
from egojax.errors import UsageError
from egojax.types import PointTracks

VERSION = 1
STEPS = 32  # In a pixel, of images up to LIMIT pixels high and wide.
LIMIT = 1000  # Pixels, at 32 steps: positions beyond it are moved to it.
LARGEST = 2**16 - 1  # Group that a label map can hold.
FIELDS = ("first", "count", "xy", "steps", "size", "version")


def steps_per_pixel(size_hw: tuple[int, int]) -> int:
    """Steps in a pixel, a power of 2: 32, halved until int16 holds the image."""
    halvings = max(0, math.ceil(math.log2(max(*size_hw, 1) / LIMIT)))
    return max(1, STEPS >> halvings)


def to_steps(xy: np.ndarray, steps: int) -> np.ndarray:
    """Places in so many steps of a pixel, int16; what is far outside is moved nearer.

    Raises:
      ValueError: places that are not finite.
    """
    if not np.isfinite(xy).all():
        raise ValueError("tracks with places that are not finite")
    limit = LIMIT * STEPS
    places = np.rint(np.asarray(xy, np.float64) * steps)
    return np.clip(places, -limit, limit).astype(np.int16)


def write_points(path: pathlib.Path, tracks: PointTracks) -> None:
    """Writes the tracks of a clip.

    Raises:
      ValueError: places that are not finite.
    """
    steps = steps_per_pixel(tracks.size_hw)
    places = to_steps(tracks.xy, steps)
    arrays.write_npz(
        path,
        {
            "first": np.asarray(tracks.first, np.int32),
            "count": np.asarray(tracks.count, np.int32),
            "xy": places,
            "steps": np.asarray(steps),
            "size": np.asarray(tracks.size_hw),
            "version": np.asarray(VERSION),
        },
    )


def read_points(path: pathlib.Path, num_frames: int) -> PointTracks:
    """Reads the tracks of a clip of so many frames.

    Raises:
      UsageError: damaged, or of another clip.
    """
    found = arrays.read_npz(path)
    missing = [name for name in FIELDS if name not in found]
    if missing:
        raise UsageError(f"{path}: no point tracks: without {', '.join(missing)}")
    problem = _problem(found, num_frames)
    if problem:
        raise UsageError(f"{path}: {problem}; --only=tracks writes it again")
    high, wide = found["size"].tolist()
    return PointTracks(
        found["first"].astype(np.int32),
        found["count"].astype(np.int32),
        found["xy"].astype(np.float32) / np.float32(found["steps"]),
        (high, wide),
    )


def _problem(found: dict[str, Any], num_frames: int) -> str:
    """Why these are no tracks of a clip; empty if they are."""
    first, count, places = found["first"], found["count"], found["xy"]
    kinds = [found[name].dtype.kind in "iu" for name in FIELDS]
    if not all(kinds) or first.ndim != 1 or first.shape != count.shape:
        return "expected whole numbers, first and count of one length"
    if found["size"].shape != (2,) or found["steps"].shape or found["steps"] < 1:
        return "expected a size of two numbers, and one step or more in a pixel"
    if (count < 1).any() or places.shape != (int(count.sum(dtype=np.int64)), 2):
        return f"{len(first)} tracks and places {places.shape} do not agree"
    end = (first.astype(np.int64) + count).max(initial=0)
    if first.min(initial=0) < 0 or end > num_frames:
        return f"tracks up to frame {end}; the clip has {num_frames}"
    return ""


def write_groups(path: pathlib.Path, group: np.ndarray) -> None:
    """Writes the group of each track."""
    arrays.write_npz(path, {"group": np.asarray(group, np.int32)})


def read_groups(path: pathlib.Path, num_tracks: int) -> np.ndarray:
    """Reads the group of each of so many tracks, int32 (N,).

    Raises:
      UsageError: damaged, or of other tracks.
    """
    group = arrays.read_npz(path).get("group")
    if group is None or group.shape != (num_tracks,) or not _are_groups(group):
        raise UsageError(
            f"{path}: expected `group`, whole numbers ({num_tracks},) up to {LARGEST}; "
            "the stage group, or masks of a network, writes it again"
        )
    return group.astype(np.int32)


def _are_groups(group: np.ndarray) -> bool:
    return group.dtype.kind in "iu" and group.max(initial=0) <= LARGEST
