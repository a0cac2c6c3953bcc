"""Point tracks as the official extraction of LRTL leaves them: one `.pt` a frame.

    ROOT/Tracks/cotrackerv2_rel_stride4_aux2/SEQ-FRAME.pt    a dictionary:
    tracks    float16 (T, h, w, 2), x and y of the points of a grid of frame FRAME
    vis       bool (T, h, w)
    seq       text
    fid       int: FRAME's place in the window of T frames
    height, width    of the images that the tracker saw
    offset    (x, y) of the first point of the grid

CoTracker has (0, 0) in the centre of the first pixel: half a pixel is added where its
points come in, and taken off where ours go out.

Source: Karazija et al. 2024 (LRTL), `extract_trajectories.py`,
`datasets/flow_pair_detectron.py`. Differs: a point whose place is not finite is not
visible there.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from egojax.data.images import MAX_PIXELS
from egojax.data.pickles import read_pt
from egojax.data.pt_writing import write_pt
from egojax.data.values import is_int
from egojax.errors import FrameError, UsageError
from egojax.ops.track_grids import grid_shape
from egojax.types import Source, WindowTracks

HALF = np.float32(0.5)
FAR = 20  # Images: places further out, which mean nothing, are moved there.
FIELDS = ("tracks", "vis", "fid", "height", "width")
STRIDE = 4  # Of the official grids.


def read_cotracker(
    path: pathlib.Path | str, frame: int, num_frames: int, *, cut: bool = False
) -> WindowTracks:
    """Reads the tracks of a frame.

    Args:
      frame: The frame that the file is of, as a position in the clip: the file only
        knows the place in its window.
      num_frames: Of the clip.
      cut: The clip is the beginning of a longer one: frames behind it are left out.

    Raises:
      FrameError: missing, truncated, another kind of file, a window that leaves the
        clip, or fields that do not agree.
    """
    path = pathlib.Path(path)
    try:
        found = read_pt(path)
    except UsageError as err:
        raise FrameError(str(err)) from None
    problem = _problem(found)
    if problem:
        raise FrameError(f"{path}: {problem}")
    moves, seen, query = found["tracks"], found["vis"], found["fid"]
    if cut:
        moves, seen = (part[: num_frames - frame + query] for part in (moves, seen))
    first, length = frame - query, len(moves)
    if first < 0 or first + length > num_frames:
        raise FrameError(
            f"{path}: frames {first} to {first + length - 1}, as frame {frame} is "
            f"number {query} of its {length}; the clip has 0 to {num_frames - 1}"
        )
    size_hw = found["height"], found["width"]
    places = moves.reshape(length, -1, 2).astype(np.float32) + HALF
    known = np.isfinite(places).all(-1)
    limit = np.float32(FAR) * np.array(size_hw[::-1], np.float32)
    places = np.clip(np.nan_to_num(places, nan=0.0), -limit, limit)
    seen = seen.reshape(length, -1) & known
    frames = np.arange(first, first + length, dtype=np.int32)
    return WindowTracks(places, seen, frames, query, size_hw)


def _problem(found: Any) -> str:
    """What is wrong with such a dictionary, "" if nothing is."""
    missing = [n for n in FIELDS if not isinstance(found, Mapping) or n not in found]
    if missing:
        return f"no tracks of CoTracker: without {', '.join(missing)}"
    moves, seen = found["tracks"], found["vis"]
    if not all(isinstance(value, np.ndarray) for value in (moves, seen)):
        return "tracks and vis are no tensors"
    if moves.dtype.kind != "f" or moves.ndim != 4 or moves.shape[-1] != 2:
        return f"tracks {moves.dtype} {moves.shape}; expected floats (T, h, w, 2)"
    if seen.dtype != bool or seen.shape != moves.shape[:3]:
        return f"vis {seen.dtype} {seen.shape}; expected bool {moves.shape[:3]}"
    for name in ("fid", "height", "width"):
        if not is_int(found[name]):
            return f"{name} is {found[name]!r:.40}; expected a whole number"
    if not 0 <= found["fid"] < len(moves):
        return f"fid {found['fid']} of {len(moves)} frames, counted from 0"
    height, width = found["height"], found["width"]
    fits = height > 0 and width > 0 and height * width <= MAX_PIXELS
    return "" if fits else f"images of {width} x {height} pixels"


def cotracker_source(
    folder: pathlib.Path | str,
    sequence: str,
    frame_ids: Sequence[str],
    *,
    cut: bool = False,
) -> Source[WindowTracks | None]:
    """The tracks of a sequence by frame, lazily; None where there is no file.

    Args:
      cut: See `read_cotracker`.

    Raises:
      UsageError: no folder, or no file of it is of a frame of this sequence.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    there = {path.name for path in folder.iterdir()}
    names = [f"{sequence}-{frame}.pt" for frame in frame_ids]
    if not there & set(names):
        raise UsageError(
            f"{folder}: no tracks of {sequence}; expected {names[0]} to {names[-1]}"
        )
    return Source(
        lambda t: (
            read_cotracker(folder / names[t], t, len(names), cut=cut)
            if names[t] in there
            else None
        ),
        len(names),
    )


def write_cotracker(
    path: pathlib.Path | str,
    tracks: WindowTracks,
    sequence: str,
    offset: tuple[int, int],
    stride: int = STRIDE,
) -> None:
    """Writes the tracks of a grid as the official tool does.

    Args:
      tracks: Of the points of that grid, row by row (as `grid_points`), through
        frames that follow each other.
      offset: (x, y) of its first point.

    Raises:
      ValueError: the points are as many as no such grid has, or frames are left out.
    """
    rows, columns = grid_shape(tracks.size_hw, offset, stride)
    length, count = tracks.visibility.shape
    if count != rows * columns:
        raise ValueError(f"{path}: {count} points; the grid has {rows} x {columns}")
    if (np.diff(tracks.frames) != 1).any():
        raise ValueError(f"{path}: frames are left out; the official form has no way")
    places = np.asarray(tracks.tracks_xy, np.float32) - HALF
    height, width = tracks.size_hw
    table = {
        "tracks": places.astype(np.float16).reshape(length, rows, columns, 2),
        "vis": np.asarray(tracks.visibility, bool).reshape(length, rows, columns),
        "seq": sequence,
        "fid": int(tracks.query),
        "height": height,
        "width": width,
        "offset": tuple(map(int, offset)),
    }
    write_pt(path, table)
