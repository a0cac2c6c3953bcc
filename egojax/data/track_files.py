"""Point tracks of one frame on disk: small, exact to 1/64 pixel, one file a frame.

    tracks       int16 (T, N, 2), steps of a pixel
    steps        int: steps in a pixel; 32, fewer for images of more than 1000 pixels
    visibility   uint8, bits of (T, N) in C order, the first one highest
    frames       int32 (T,), positions in the clip
    query        int: which of `frames` the points were taken from, counted from 0
    size         int (2,): height and width of the images
    version      int: 1

Half floats, in which the official extraction keeps pixels, are a half pixel apart from
512 on, which alone adds several percent to the low-rank loss.
"""

import math
import pathlib
from collections.abc import Mapping

import numpy as np

from egojax.data import arrays, images
from egojax.errors import FrameError
from egojax.types import WindowTracks

VERSION = 1
STEPS = 32  # In a pixel, of images up to LIMIT pixels high and wide.
LIMIT = 1000  # Pixels, at 32 steps: positions beyond it are moved to it.
FORM = {  # Of each field: kinds of dtype, and axes.
    "tracks": ("i", 3),
    "steps": ("iu", 0),
    "visibility": ("u", 1),
    "frames": ("i", 1),
    "query": ("iu", 0),
    "size": ("iu", 1),
    "version": ("iu", 0),
}


def steps_per_pixel(size_hw: tuple[int, int]) -> int:
    """Steps in a pixel, a power of 2: 32, halved until int16 holds the image."""
    halvings = max(0, math.ceil(math.log2(max(*size_hw, 1) / LIMIT)))
    return max(1, STEPS >> halvings)


def write_tracks(path: pathlib.Path | str, tracks: WindowTracks) -> None:
    """Writes the tracks of a frame; what lies far outside the image is moved nearer.

    Raises:
      ValueError: a record whose fields do not agree, or NaN in it.
    """
    arrays.write_npz(path, to_columns(tracks))


def read_tracks(path: pathlib.Path | str) -> WindowTracks:
    """Reads the tracks of a frame.

    Raises:
      FrameError: missing, truncated, or not such a file.
    """
    path = pathlib.Path(path)
    return from_columns(path, images.read_arrays(path))


def to_columns(tracks: WindowTracks) -> dict[str, np.ndarray]:
    """The fields of a file by name.

    Raises:
      ValueError: as `write_tracks`.
    """
    problem = _problem(tracks)
    if problem:
        raise ValueError(problem)
    steps = steps_per_pixel(tracks.size_hw)
    limit = LIMIT * STEPS
    rounded = np.rint(np.asarray(tracks.tracks_xy, np.float64) * steps)
    return {
        "tracks": np.clip(rounded, -limit, limit).astype(np.int16),
        "steps": np.asarray(steps),
        "visibility": np.packbits(np.asarray(tracks.visibility, bool)),
        "frames": np.asarray(tracks.frames, np.int32),
        "query": np.asarray(tracks.query),
        "size": np.asarray(tracks.size_hw),
        "version": np.asarray(VERSION),
    }


def from_columns(where: pathlib.Path, found: Mapping[str, np.ndarray]) -> WindowTracks:
    """The tracks that the fields of a file say.

    Raises:
      FrameError: fields are missing, or do not agree.
    """
    _check_form(where, found)
    moves, seen = found["tracks"], found["visibility"]
    count = math.prod(moves.shape[:2])
    steps, size = int(found["steps"]), found["size"].tolist()
    if len(seen) != -(-count // 8) or moves.shape[2] != 2 or len(size) != 2:
        raise FrameError(
            f"{where}: tracks {moves.shape}, {len(seen)} bytes of visibility, a size "
            f"of {len(size)} numbers: these do not agree"
        )
    if not 1 <= steps <= 1 << 15:
        raise FrameError(f"{where}: {steps} steps in a pixel; expected 1 to 32768")
    tracks = WindowTracks(
        moves.astype(np.float32) / np.float32(steps),
        np.unpackbits(seen, count=count).view(bool).reshape(moves.shape[:2]),
        found["frames"].astype(np.int32),
        int(found["query"]),
        (size[0], size[1]),
    )
    problem = _problem(tracks)
    if problem:
        raise FrameError(f"{where}: {problem}")
    return tracks


def _check_form(path: pathlib.Path, found: Mapping[str, np.ndarray]) -> None:
    missing = [name for name in FORM if name not in found]
    if missing:
        raise FrameError(f"{path}: no point tracks: without {', '.join(missing)}")
    for name, (kinds, axes) in FORM.items():
        value = found[name]
        if value.dtype.kind not in kinds or value.ndim != axes:
            raise FrameError(
                f"{path}: {name} is {value.dtype} with {value.ndim} axes; expected "
                f"integers with {axes}"
            )
    if found["version"] != VERSION:
        raise FrameError(f"{path}: version {found['version']}; expected {VERSION}")
    if found["visibility"].dtype != np.uint8:
        raise FrameError(f"{path}: visibility is no bytes")


def _problem(tracks: WindowTracks) -> str:
    """What is wrong with a record, "" if nothing is."""
    frames = np.asarray(tracks.frames)
    shape = np.shape(tracks.tracks_xy)
    if len(shape) != 3 or shape[2] != 2 or shape[0] != len(frames):
        return f"tracks of shape {shape} over {len(frames)} frames"
    if np.shape(tracks.visibility) != shape[:2]:
        return f"visibility {np.shape(tracks.visibility)} of tracks {shape}"
    if not 0 <= tracks.query < len(frames):
        return f"query {tracks.query} of {len(frames)} frames, counted from 0"
    if (frames < 0).any() or (np.diff(frames.astype(np.int64)) <= 0).any():
        return "frames that do not rise from 0 on"
    if min(tracks.size_hw) < 1 or max(tracks.size_hw) > images.MAX_PIXELS:
        return f"images of {tracks.size_hw[1]} x {tracks.size_hw[0]} pixels"
    return "" if np.isfinite(tracks.tracks_xy).all() else "positions that are NaN"
