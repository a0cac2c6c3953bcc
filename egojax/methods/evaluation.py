"""Scores a track table against the truth: the ids before, the ids after, the bound.

Tracking never changes a pixel, it only renames segments. So the overlap of true objects
and 2D segments is counted once a frame, and every naming is scored from it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from egojax.data.stream import host_frames
from egojax.metrics import (
    IGNORED_CATEGORIES,
    EgoSegRecorder,
    EgoSegVideo,
    FrameOverlap,
    PermanenceRecorder,
    PermanenceScores,
    TrackingScores,
    TrackRecorder,
    box_overlap,
    frame_overlap,
    match_objects,
)
from egojax.types import Boxes, Clip, Objects, TrackTable

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
    return by_frame(table.frame_idx, table.segment_id, ids, num_frames)


def by_frame(
    frame_idx: np.ndarray, keys: np.ndarray, values: np.ndarray, num_frames: int
) -> list[dict[int, int]]:
    """One dictionary a frame, of the rows' keys and values; the last row counts."""
    frames: list[dict[int, int]] = [{} for _ in range(num_frames)]
    for t, key, value in zip(frame_idx, keys, values, strict=True):
        frames[t][int(key)] = int(value)
    return frames


class TrueFrame(NamedTuple):
    """What one frame says about the truth and the 2D segments."""

    frame_idx: int
    overlap: FrameOverlap  # Of true objects (rows) and 2D segments (columns).
    objects: Objects | None  # Where the true objects are, in world units.
    categories: Mapping[int, int] | None  # Of the true objects.


def true_frames(clip: Clip, read_ahead: int = 8) -> Iterator[TrueFrame]:
    """Yields the frames with true labels (or boxes), in order.

    Frames that cannot be read or have no truth are left out.
    """
    of = true_layer(clip)
    if of is None or clip.truth is None:
        return
    more = [f"truth.{name}" for name in ("objects", "segments")]
    more = [name for name in more if name.removeprefix("truth.") in clip.truth.sources]
    for frame in host_frames(clip, [of, f"truth.{of}", *more], read_ahead):
        truth, found = frame.layers.get(f"truth.{of}"), frame.layers.get(of)
        if truth is None or found is None:
            continue
        overlap = (
            frame_overlap(truth, found) if of == "labels" else _boxes(truth, found)
        )
        table = frame.layers.get("truth.segments")
        yield TrueFrame(
            frame.frame_idx,
            overlap,
            frame.layers.get("truth.objects"),
            table
            and dict(zip(table.ids.tolist(), table.category.tolist(), strict=True)),
        )


def true_layer(clip: Clip) -> str | None:
    """What a clip can be scored on: its "labels", its "boxes", or nothing."""
    for name in ("labels", "boxes"):
        if (
            clip.truth is not None
            and name in clip.sources
            and name in clip.truth.sources
        ):
            return name
    return None


def _boxes(truth: Boxes, found: Boxes) -> FrameOverlap:
    rows = [np.flatnonzero(side.visibility > 0) for side in (truth, found)]
    return box_overlap(
        truth.xyxy[rows[0]], found.xyxy[rows[1]], truth.ids[rows[0]], found.ids[rows[1]]
    )


class NamingScores(NamedTuple):
    """The scores of one naming of the segments."""

    tracking: TrackingScores
    permanence: PermanenceScores | None  # None where the truth has no locations.
    protocol: EgoSegVideo | None  # None where the truth has no categories.
    strict: EgoSegVideo | None  # The protocol with absent objects counted.


def score_names(
    frames: Iterable[TrueFrame],
    namings: Mapping[str, Sequence[Names]],
    table: TrackTable,
    categories: Mapping[str, Sequence[Names]] | None = None,
    *,
    category_names: Sequence[str] = (),
    true_names: Sequence[str] | None = None,
    ignored: Iterable[str] = IGNORED_CATEGORIES,
    min_pixels: int = 500,
    metric_scale: float = 1.0,
    name: str = "sequence",
) -> dict[str, NamingScores]:
    """Scores several namings of the same segments in one pass.

    Args:
      frames: See `true_frames`.
      namings: By their names: one mapping a frame (`names_by_frame`). Segments that a
        mapping leaves out are not counted.
      table: Where the segments are, for what is remembered of absent objects.
      categories: By naming: one mapping a frame from new ids to categories.
      category_names: Of the clip.
      true_names: What the truth calls each of them, if it has fewer categories: names
        of one true category are each scored against all of its objects.
      ignored: Categories that the EgoSeg3D protocol does not score.
      min_pixels: True objects of at most this size are not counted by the track
        metrics: segments of that size take no part either. (The EgoSeg3D protocol has
        its own rule.)
      metric_scale: Metres per world unit.
      name: Names the sequence in errors.
    """
    places = _places(table)
    called = category_names if true_names is None else true_names
    protocol = dict(
        true_classes={
            kind: list(category_names).index(name)
            for kind, name in zip(category_names, called, strict=True)
        },
        pred_categories={kind: k for k, kind in enumerate(category_names)},
        ignored=frozenset(ignored),
    )
    judges = {
        key: _Judge(f"{name}, {key}", min_pixels, metric_scale, protocol)
        for key in namings
    }
    for frame in frames:
        here = places.get(frame.frame_idx, {})
        for key, mappings in namings.items():
            kinds = categories[key][frame.frame_idx] if categories else None
            judges[key].add(frame, mappings[frame.frame_idx], here, kinds)
    return {key: judge.finish() for key, judge in judges.items()}


class _Judge:
    """Takes the frames of one naming."""

    def __init__(
        self,
        name: str,
        min_pixels: int,
        metric_scale: float,
        protocol: Mapping[str, Any],
    ):
        self._tracks = TrackRecorder(name)
        self._memory = PermanenceRecorder(name=name)
        self._protocols = [
            EgoSegRecorder(**protocol, min_area=min_pixels, strict=strict, name=name)
            for strict in (False, True)
        ]
        self._min_pixels, self._scale = min_pixels, metric_scale
        self._remembers = self._knows_classes = False

    def add(
        self,
        frame: TrueFrame,
        names: Names,
        places: Mapping[int, np.ndarray],
        categories: Mapping[int, int] | None,
    ) -> None:
        renamed = frame.overlap.relabel(names)
        counted = renamed.drop(true_area=self._min_pixels)
        self._tracks.add(counted)
        if frame.categories is not None and categories is not None:
            self._knows_classes = True
            for protocol in self._protocols:
                protocol.add_overlap(renamed, categories, frame.categories)
        self._remembers |= frame.objects is not None
        _remember(self._memory, frame, counted, names, places, self._scale)

    def finish(self) -> NamingScores:
        known = self._knows_classes
        return NamingScores(
            TrackingScores.of(self._tracks),
            self._memory.finish() if self._remembers else None,
            *(judge.finish() if known else None for judge in self._protocols),
        )


def track_categories(
    ids: np.ndarray, categories: np.ndarray, rule: str = "vote"
) -> np.ndarray:
    """One category for all rows of an id.

    Args:
      ids: (M,), in order of time.
      categories: int (M,), negative = unknown.
      rule: "vote": the most frequent one, ties to the smallest. "last": that of the
        last observation, as published.

    Returns:
      int32 (M,).
    """
    out = np.asarray(categories, np.int32).copy()
    for key in np.unique(ids):
        mine = ids == key
        known = categories[mine][categories[mine] >= 0]
        if rule == "last" or not len(known):
            out[mine] = categories[mine][-1]
        else:
            out[mine] = np.bincount(known).argmax()
    return out


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
    # Where the truth does not say where things are, it still says what is seen.
    ids, centers = renamed.true_ids, np.full((len(renamed.true_ids), 3), np.nan)
    if frame.objects is not None:
        ids = np.asarray(frame.objects.ids)
        centers = np.asarray(frame.objects.centers) * metric_scale
    on_object = dict(
        zip(renamed.true_ids.tolist(), match_objects(renamed).tolist(), strict=True)
    )
    here = [(names[s], at) for s, at in places.items() if names.get(s, 0) > 0]
    memory.add(
        true_ids=ids,
        visible=np.isin(ids, renamed.true_ids),
        true_locations=centers,
        matched_ids=np.array([on_object.get(int(i), 0) for i in ids], np.int64),
        track_ids=np.array([i for i, _ in here], np.int64),
        track_locations=np.array([at for _, at in here]).reshape(-1, 3),
        frame_idx=frame.frame_idx,
    )


def true_ids(frames: Iterable[TrueFrame], table: TrackTable) -> np.ndarray:
    """The best names that segments can have: of the object each one shows.

    Returns:
      int64 (M,): the id of the true object that covers most of the segment, if it
      covers more than half; else a negative id of its own for each 2D id.
    """
    best: dict[tuple[int, int], int] = {}
    for t, overlap, *_ in frames:
        if not len(overlap.true_ids):
            continue
        row = overlap.intersection.argmax(axis=0)
        share = overlap.intersection.max(axis=0) / np.maximum(overlap.pred_area, 1)
        for k in np.flatnonzero(share > 0.5):
            best[t, int(overlap.pred_ids[k])] = int(overlap.true_ids[row[k]])
    rows = zip(table.frame_idx, table.segment_id, strict=True)
    found = [best.get((int(t), int(s)), -int(s)) for t, s in rows]
    return np.array(found, np.int64).reshape(len(table))
