"""Observations of a clip on disk: written chunk by chunk, read column by column.

One file a chunk of frames, `observations/000064.npz` for the chunk that starts at frame
64. A chunk is on disk whole or not at all, so a run that was stopped goes on behind the
last one. What is damaged nevertheless is told; observing again replaces all of it.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from egojax.data import arrays
from egojax.errors import UsageError
from egojax.types import SkippedFrame

AGAIN = "--only=observe makes the observations again"
# Columns with a row for each segment, and with a row for each frame.
SEGMENT_COLUMNS = {
    "frame_idx": np.int32,
    "segment_id": np.int64,
    "category": np.int32,
    "score": np.float32,
    "area": np.int32,
    "centroid_xy": np.float32,
    "box_xyxy": np.float32,
    "raw_depth": np.float32,
    "feature": np.float32,
}
FRAME_COLUMNS = {
    "scale": np.float64,  # Alignment of the frame's depth; NaN = none.
    "shift": np.float64,
    "has_camera": np.bool_,
    "intrinsics": np.float64,
    "w2c": np.float64,
    "distortion": np.float64,
}


@dataclasses.dataclass(frozen=True)
class ObservationChunk:
    """The observations of the frames `start` to `start + num_frames`."""

    start: int
    segments: dict[str, np.ndarray]  # By SEGMENT_COLUMNS.
    frames: dict[str, np.ndarray]  # By FRAME_COLUMNS.
    skipped: tuple[SkippedFrame, ...] = ()

    @property
    def num_frames(self) -> int:
        return len(self.frames["scale"])


def write_chunk(folder: pathlib.Path, chunk: ObservationChunk) -> None:
    """Writes one chunk."""
    columns = {f"segments/{k}": v for k, v in chunk.segments.items()}
    columns |= {f"frames/{k}": v for k, v in chunk.frames.items()}
    columns["skipped_frame"] = np.array([s.frame_idx for s in chunk.skipped], np.int32)
    columns["skipped_reason"] = np.array([s.reason for s in chunk.skipped], np.str_)
    arrays.write_npz(folder / f"{chunk.start:06d}.npz", columns)


def read_chunks(
    folder: pathlib.Path, features: bool = True
) -> Iterator[ObservationChunk]:
    """Yields the chunks in order.

    Args:
      folder: `observations/` of a clip's folder.
      features: Leave out the wide columns if they are not needed.

    Raises:
      UsageError: a chunk is damaged, or missing between others.
    """
    end = None
    for path in sorted(folder.glob("[0-9]*.npz")):
        chunk = _read_chunk(path, features)
        if end not in (None, chunk.start):
            raise UsageError(
                f"{path}: starts at frame {chunk.start}, but the chunk before it ends "
                f"before frame {end}; {AGAIN}"
            )
        end = chunk.start + chunk.num_frames
        yield chunk


def _read_chunk(path: pathlib.Path, features: bool) -> ObservationChunk:
    table = _read_columns(path)
    try:
        segments = {
            name: table[f"segments/{name}"].astype(dtype)
            for name, dtype in SEGMENT_COLUMNS.items()
            if features or name != "feature"
        }
        frames = {
            name: table[f"frames/{name}"].astype(dtype)
            for name, dtype in FRAME_COLUMNS.items()
        }
        pairs = zip(table["skipped_frame"], table["skipped_reason"], strict=True)
        skipped = tuple(SkippedFrame(int(t), str(reason)) for t, reason in pairs)
        return ObservationChunk(int(path.stem), segments, frames, skipped)
    except (KeyError, ValueError) as err:  # A column that is missing, or no such one.
        raise UsageError(f"{path}: no chunk of observations ({err}); {AGAIN}") from None


def _read_columns(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        return arrays.read_npz(path)
    except UsageError as err:
        raise UsageError(f"{err}; {AGAIN}") from None


def next_frame(folder: pathlib.Path) -> int:
    """The first frame that no chunk holds yet."""
    last = max(folder.glob("[0-9]*.npz"), default=None)
    if last is None:
        return 0
    return int(last.stem) + _read_chunk(last, features=False).num_frames


def join(chunks: Sequence[ObservationChunk]) -> ObservationChunk:
    """Chunks in a row as one.

    Raises:
      UsageError: there are none, or features of different lengths.
    """
    if not chunks:
        raise UsageError("no observations; the stage observe writes them")
    return ObservationChunk(
        chunks[0].start,
        {k: stack([c.segments[k] for c in chunks]) for k in chunks[0].segments},
        {k: np.concatenate([c.frames[k] for c in chunks]) for k in chunks[0].frames},
        tuple(s for c in chunks for s in c.skipped),
    )


def stack(tables: Sequence[np.ndarray]) -> np.ndarray:
    """Tables one below the other; one without rows may be of any width.

    Raises:
      UsageError: features of different lengths.
    """
    filled = [table for table in tables if len(table)] or list(tables[:1])
    widths = sorted({table.shape[1:] for table in filled})
    if len(widths) > 1:
        raise UsageError(f"features differ in length from frame to frame: {widths}")
    return np.concatenate(filled)
