"""Scores a track table against the truth: the ids before, the ids after, the bound.

Tracking never changes a pixel, it only renames segments. So the overlap of true objects
and 2D segments is counted once a frame, and every naming is scored from it.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from egojax.data.stream import host_frames
from egojax.metrics import FrameOverlap, TrackingScores, TrackRecorder, frame_overlap
from egojax.types import Clip, TrackTable

Names = Mapping[int, int]  # Segment id to track id, in one frame.


def names_by_frame(
    table: TrackTable, ids: np.ndarray, num_frames: int
) -> list[dict[int, int]]:
    """One mapping a frame from segment ids to the given ids.

    Args:
      table: M rows.
      ids: int (M,); 0 = no track.
      num_frames: Length of the clip.
    """
    frames: list[dict[int, int]] = [{} for _ in range(num_frames)]
    rows = zip(table.frame_idx, table.segment_id, ids, strict=True)
    for t, segment, new in rows:
        frames[t][int(segment)] = int(new)
    return frames


def true_overlaps(
    clip: Clip, min_pixels: int, read_ahead: int = 8
) -> Iterator[tuple[int, FrameOverlap]]:
    """Yields frame positions and the overlaps of true objects and 2D segments.

    Frames that cannot be read or have no true labels are left out. True objects of at
    most `min_pixels` are not counted: segments of that size take no part either.
    """
    layers = ["labels", "truth.labels"]
    for frame in host_frames(clip, layers, read_ahead):
        truth = frame.layers.get("truth.labels")
        labels = frame.layers.get("labels")
        if truth is None or labels is None:
            continue
        overlap = frame_overlap(truth, labels)
        yield frame.frame_idx, overlap.drop(true_area=min_pixels)


def score_names(
    overlaps: Iterable[tuple[int, FrameOverlap]],
    namings: Mapping[str, Sequence[Names]],
    name: str = "sequence",
) -> dict[str, TrackingScores]:
    """Scores several namings of the same segments in one pass.

    Args:
      overlaps: Frame position and overlap of true objects and 2D segments.
      namings: By their names: one mapping a frame (`names_by_frame`). Segments that a
        mapping leaves out are not counted.
      name: Names the sequence in errors.
    """
    recorders = {key: TrackRecorder(f"{name}, {key}") for key in namings}
    for t, overlap in overlaps:
        for key, frames in namings.items():
            recorders[key].add(overlap.relabel(frames[t]))
    return {key: TrackingScores.of(recorder) for key, recorder in recorders.items()}


def true_ids(
    overlaps: Iterable[tuple[int, FrameOverlap]], table: TrackTable
) -> np.ndarray:
    """The best names that segments can have: of the object each one shows.

    Returns:
      int64 (M,): the id of the true object that covers most of the segment, if it
      covers more than half; else a negative id of its own for each 2D id.
    """
    best: dict[tuple[int, int], int] = {}
    for t, overlap in overlaps:
        if not len(overlap.true_ids):
            continue
        row = overlap.intersection.argmax(axis=0)
        share = overlap.intersection.max(axis=0) / np.maximum(overlap.pred_area, 1)
        for k in np.flatnonzero(share > 0.5):
            best[t, int(overlap.pred_ids[k])] = int(overlap.true_ids[row[k]])
    rows = zip(table.frame_idx, table.segment_id, strict=True)
    found = [best.get((int(t), int(s)), -int(s)) for t, s in rows]
    return np.array(found, np.int64).reshape(len(table))


def relocated(table: TrackTable, track_id: np.ndarray) -> TrackTable:
    """The table with other track ids."""
    return dataclasses.replace(table, track_id=track_id.astype(np.int32))
