"""Scores a track table against the truth: the ids before, the ids after, the bound.

Tracking never changes a pixel, it only renames segments. So the overlap of true objects
and 2D segments is counted once a frame, and every naming is scored from it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from egojax.data.stream import host_frames
from egojax.metrics import (
    FrameOverlap,
    PermanenceRecorder,
    PermanenceScores,
    TrackingScores,
    TrackRecorder,
    frame_overlap,
    match_objects,
)
from egojax.types import Clip, Objects, TrackTable

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


class TrueFrame(NamedTuple):
    """What one frame says about the truth and the 2D segments."""

    frame_idx: int
    overlap: FrameOverlap  # Of true objects (rows) and 2D segments (columns).
    objects: Objects | None  # Where the true objects are, in world units.


def true_frames(
    clip: Clip, min_pixels: int, read_ahead: int = 8
) -> Iterator[TrueFrame]:
    """Yields the frames with true labels, in order.

    Frames that cannot be read or have no true labels are left out. True objects of at
    most `min_pixels` are not counted: segments of that size take no part either.
    """
    layers = ["labels", "truth.labels"]
    if clip.truth is not None and clip.truth.objects is not None:
        layers.append("truth.objects")
    for frame in host_frames(clip, layers, read_ahead):
        truth = frame.layers.get("truth.labels")
        labels = frame.layers.get("labels")
        if truth is None or labels is None:
            continue
        overlap = frame_overlap(truth, labels).drop(true_area=min_pixels)
        yield TrueFrame(frame.frame_idx, overlap, frame.layers.get("truth.objects"))


class NamingScores(NamedTuple):
    """The scores of one naming of the segments."""

    tracking: TrackingScores
    permanence: PermanenceScores | None  # None where the truth has no locations.


def score_names(
    frames: Iterable[TrueFrame],
    namings: Mapping[str, Sequence[Names]],
    table: TrackTable | None = None,
    metric_scale: float = 1.0,
    name: str = "sequence",
) -> dict[str, NamingScores]:
    """Scores several namings of the same segments in one pass.

    Args:
      frames: See `true_frames`.
      namings: By their names: one mapping a frame (`names_by_frame`). Segments that a
        mapping leaves out are not counted.
      table: Where the segments are, for what is remembered of absent objects.
      metric_scale: Metres per world unit.
      name: Names the sequence in errors.
    """
    recorders = {key: TrackRecorder(f"{name}, {key}") for key in namings}
    memories = {key: PermanenceRecorder(name=f"{name}, {key}") for key in namings}
    places = None if table is None else _places(table)
    remembers = False
    for frame in frames:
        for key, by_frame in namings.items():
            names = by_frame[frame.frame_idx]
            renamed = frame.overlap.relabel(names)
            recorders[key].add(renamed)
            if frame.objects is not None and places is not None:
                remembers = True
                here = places.get(frame.frame_idx, {})
                _remember(memories[key], frame, renamed, names, here, metric_scale)
    return {
        key: NamingScores(
            TrackingScores.of(recorders[key]),
            memories[key].finish() if remembers else None,
        )
        for key in namings
    }


def _places(table: TrackTable) -> dict[int, dict[int, np.ndarray]]:
    """Frame to segment id to location in metres."""
    places: dict[int, dict[int, np.ndarray]] = {}
    rows = zip(table.frame_idx, table.segment_id, table.location, strict=True)
    for t, segment, at in rows:
        places.setdefault(int(t), {})[int(segment)] = at
    return places


def _remember(
    memory: PermanenceRecorder,
    frame: TrueFrame,
    renamed: FrameOverlap,
    names: Names,
    places: Mapping[int, np.ndarray],
    metric_scale: float,
) -> None:
    assert frame.objects is not None
    ids = np.asarray(frame.objects.ids)
    on_object = dict(
        zip(renamed.true_ids.tolist(), match_objects(renamed).tolist(), strict=True)
    )
    here = [(names[s], at) for s, at in places.items() if names.get(s, 0) > 0]
    memory.add(
        true_ids=ids,
        visible=np.isin(ids, frame.overlap.true_ids),
        true_locations=np.asarray(frame.objects.centers) * metric_scale,
        matched_ids=np.array([on_object.get(int(i), 0) for i in ids], np.int64),
        track_ids=np.array([i for i, _ in here], np.int64),
        track_locations=np.array([at for _, at in here]).reshape(-1, 3),
    )


def true_ids(frames: Iterable[TrueFrame], table: TrackTable) -> np.ndarray:
    """The best names that segments can have: of the object each one shows.

    Returns:
      int64 (M,): the id of the true object that covers most of the segment, if it
      covers more than half; else a negative id of its own for each 2D id.
    """
    best: dict[tuple[int, int], int] = {}
    for t, overlap, _ in frames:
        if not len(overlap.true_ids):
            continue
        row = overlap.intersection.argmax(axis=0)
        share = overlap.intersection.max(axis=0) / np.maximum(overlap.pred_area, 1)
        for k in np.flatnonzero(share > 0.5):
            best[t, int(overlap.pred_ids[k])] = int(overlap.true_ids[row[k]])
    rows = zip(table.frame_idx, table.segment_id, strict=True)
    found = [best.get((int(t), int(s)), -int(s)) for t, s in rows]
    return np.array(found, np.int64).reshape(len(table))
