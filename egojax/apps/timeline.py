"""Which id an object had when: rows of runs, for the report's timeline."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from egojax.types import TrackTable

MOST_COLUMNS = 1200  # Of the timeline: a long clip has several frames a column.
MOST_RUNS = 40_000  # Of all rows together: the page stays small however ids flicker.
FEWEST_COLUMNS = 60


class Run(NamedTuple):
    """An id over columns `start` to `stop` (exclusive)."""

    id: int
    start: int
    stop: int


class Row(NamedTuple):
    """One object of the timeline."""

    key: int  # The object's own id.
    before: list[Run]
    after: list[Run]


class Timeline(NamedTuple):
    """All rows, by first appearance."""

    rows: list[Row]
    num_columns: int
    frames_per_column: float


def make_timeline(table: TrackTable, objects: np.ndarray, num_frames: int) -> Timeline:
    """Rows of runs of equal ids.

    Args:
      table: M rows.
      objects: int (M,), the object that each row shows: its true id where the truth is
        known, else its track. Rows with 0 or less are left out.
      num_frames: Length of the clip.
    """
    columns = min(MOST_COLUMNS, max(1, num_frames))
    while True:
        timeline = _with_columns(table, objects, num_frames, columns)
        count = sum(len(r.before) + len(r.after) for r in timeline.rows)
        if count <= MOST_RUNS or columns <= FEWEST_COLUMNS:
            return timeline
        columns //= 2


def _with_columns(
    table: TrackTable, objects: np.ndarray, num_frames: int, columns: int
) -> Timeline:
    per_column = max(1, num_frames) / columns
    column = (table.frame_idx / per_column).astype(np.int64)
    kept = np.flatnonzero(objects > 0)
    order = kept[np.argsort(objects[kept], kind="stable")]
    keys, starts = np.unique(objects[order], return_index=True)
    parts = np.split(order, starts[1:]) if len(order) else []
    rows = [
        Row(
            int(key),
            _runs(table.segment_id[part], column[part]),
            _runs(table.track_id[part], column[part]),
        )
        for key, part in zip(keys, parts, strict=True)
    ]
    rows.sort(key=lambda row: row.before[0].start)
    return Timeline(rows, columns, per_column)


def _runs(ids: np.ndarray, column: np.ndarray) -> list[Run]:
    """Runs of ids by column; where several share a column, the last one shows."""
    last = np.append(np.flatnonzero(np.diff(column)), len(column) - 1)
    ids, column = ids[last], column[last]
    breaks = (np.diff(ids) != 0) | (np.diff(column) != 1)
    first = np.append(0, np.flatnonzero(breaks) + 1)
    stop = np.append(first[1:], len(ids)) - 1
    return [
        Run(int(ids[a]), int(column[a]), int(column[b]) + 1)
        for a, b in zip(first, stop, strict=True)
    ]


class ObjectSummary(NamedTuple):
    """What the table of objects says of one track."""

    track: int
    num_frames: int
    first: int
    last: int
    segment_ids: tuple[int, ...]  # In order of appearance.
    longest_absence: int  # Frames between two sightings.
    confidence: float  # The least of its links; NaN without one.


class Link(NamedTuple):
    """Where a track went on under another 2D id."""

    track: int
    row_before: int  # Rows of the table.
    row_after: int
    confidence: float


def summarize_objects(table: TrackTable, links: Sequence[Link]) -> list[ObjectSummary]:
    """One summary a track, by track id."""
    weakest: dict[int, float] = {}
    for link in links:
        weakest[link.track] = min(link.confidence, weakest.get(link.track, np.inf))
    out = []
    for track, rows in _rows_by_track(table).items():
        frames = table.frame_idx[rows]
        absences = np.diff(frames) - 1
        ids = dict.fromkeys(table.segment_id[rows].tolist())
        out.append(
            ObjectSummary(
                track=track,
                num_frames=len(np.unique(frames)),
                first=int(frames[0]),
                last=int(frames[-1]),
                segment_ids=tuple(ids),
                longest_absence=int(absences.max(initial=0)),
                confidence=weakest.get(track, float("nan")),
            )
        )
    return out


def find_links(table: TrackTable) -> list[Link]:
    """All places where a track takes up a 2D id that it did not have before."""
    links = []
    for track, rows in _rows_by_track(table).items():
        ids = table.segment_id[rows]
        _, first = np.unique(ids, return_index=True)
        for k in np.sort(first)[1:]:
            # The sighting before in time, not a second segment of the same frame.
            earlier = np.searchsorted(table.frame_idx[rows], table.frame_idx[rows[k]])
            if earlier > 0:
                row, then = int(rows[k]), int(rows[earlier - 1])
                links.append(Link(track, then, row, float(table.confidence[row])))
    return links


def _rows_by_track(table: TrackTable) -> Mapping[int, np.ndarray]:
    """Rows of each track, in time order."""
    rows = np.flatnonzero(table.track_id > 0)
    rows = rows[np.argsort(table.track_id[rows], kind="stable")]
    tracks, starts = np.unique(table.track_id[rows], return_index=True)
    parts = np.split(rows, starts[1:]) if len(rows) else []
    return {int(i): part for i, part in zip(tracks, parts, strict=True)}
