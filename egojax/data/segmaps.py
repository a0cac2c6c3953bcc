"""Folders of instance maps as DEVA and EgoSeg3D leave them: read and written.

    NAME/pred.json                     what is in each frame: id, category, score, place
    NAME/args.json                     settings of what made it
    NAME/Annotations/Raw/FRAME.npy     uint32 (H, W), 0 = background

Source: EgoSeg3D, scripts/tracking.py and scripts/extract_tracks.py; the results that
DEVA saves.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from egojax.data import arrays, images, pickles
from egojax.data.values import is_int
from egojax.errors import FrameError, UsageError
from egojax.ops.segments import renamed
from egojax.types import Clip, SegmentFeatures, Segments, Source, TrackTable

MAX_ID = np.iinfo(np.int32).max  # Label maps are int32.


class Tree(NamedTuple):
    """A folder of instance maps."""

    frame_ids: tuple[str, ...]
    labels: Source[Any]  # int32 (H, W)
    segments: Source[Any]  # Segments
    locations: Source[Any]  # float64 (n, 3) of those, metres; NaN = not told.
    category_names: tuple[str, ...]
    size_hw: tuple[int, int]


def read_tree(folder: pathlib.Path | str) -> Tree:
    """Reads any official segmaps folder: 2D segments or tracks, ours or published.

    Raises:
      UsageError: `pred.json` is missing or malformed, a line for each problem, or none
        of the maps can be read.
    """
    folder = pathlib.Path(folder)
    path = folder / "pred.json"
    data = arrays.read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        raise UsageError(f'{path}: expected "annotations" and "category_name2id"')
    names = _category_names(path, data.get("category_name2id", {}))
    problems: list[str] = []
    frames: dict[str, tuple[Segments, np.ndarray]] = {}
    for n, entry in enumerate(data["annotations"]):
        try:
            frame = arrays.frame_name(entry["file_name"])
            infos = entry["segments_info"]
            rows = _segments(infos, len(names)), _locations(infos)
        except KeyError as err:
            problems.append(f"{path}: annotations[{n}]: no {err}")
            continue
        except (TypeError, ValueError, OverflowError) as err:
            problems.append(f"{path}: annotations[{n}]: {err}")
            continue
        if frame in frames:
            problems.append(f"{path}: annotations[{n}]: {frame} is there twice")
        frames[frame] = rows
    if not data["annotations"]:
        problems.append(f"{path}: no frame in it")
    if problems:
        raise UsageError.from_problems(problems)
    order = sorted(frames, key=images.natural_key)
    paths = [folder / "Annotations" / "Raw" / f"{frame}.npy" for frame in order]
    size_hw = images.first_size(paths, images.read_labels)
    labels = images.file_source(paths, images.read_labels, size_hw)
    segments, locations = (
        Source.of([frames[frame][k] for frame in order]) for k in (0, 1)
    )
    return Tree(tuple(order), labels, segments, locations, names, size_hw)


def _category_names(path: pathlib.Path, index: Any) -> tuple[str, ...]:
    """The names in order of their numbers."""
    numbers = list(index.values()) if isinstance(index, dict) else [None]
    if not all(map(is_int, numbers)) or set(numbers) != set(range(len(numbers))):
        raise UsageError(f"{path}: category_name2id: expected numbers 0 to n - 1")
    return tuple(sorted(index, key=index.__getitem__))


def _segments(infos: list[dict[str, Any]], num_categories: int) -> Segments:
    """Rows of a frame; a category or a score may be null."""
    ids = [info["id"] for info in infos]
    kinds = [info["category_id"] for info in infos]
    kinds = [-1 if kind is None else kind for kind in kinds]
    scores = [info.get("score") for info in infos]
    score = np.array([1.0 if s is None else s for s in scores], np.float32)
    if not all(is_int(i) and 0 < i <= MAX_ID for i in ids):
        raise ValueError(f"ids must be whole numbers from 1 to {MAX_ID}")
    if len(set(ids)) < len(ids):
        raise ValueError("an id is there twice")
    if not all(is_int(kind) and -1 <= kind < num_categories for kind in kinds):
        raise ValueError(f"a category_id is not among {num_categories} categories")
    if score.ndim != 1 or not ((score >= 0) & (score <= 1)).all():
        raise ValueError("a score is not in [0, 1]")
    return Segments(np.array(ids, np.int64), np.array(kinds, np.int32), score)


def _locations(infos: list[dict[str, Any]]) -> np.ndarray:
    """Where each segment is; numbers that are null or missing are NaN."""
    out = np.full((len(infos), 3), np.nan)
    for row, info in zip(out, infos, strict=True):
        place = info.get("loc3d")
        if place is None:
            continue
        if not isinstance(place, list) or len(place) != 3:
            raise ValueError("loc3d must be three numbers")
        row[:] = [np.nan if number is None else number for number in place]
    return out


def last_categories(segments: Source[Any]) -> Source[Any]:
    """The same segments, each id with the category of its last listing in the clip.

    Source: EgoSeg3D, scripts/tracking.py (load_instances).
    """
    frames = list(segments)
    kinds: dict[int, int] = {}
    for rows in frames:
        if rows is not None:
            kinds |= zip(rows.ids.tolist(), rows.category.tolist(), strict=True)

    def settled(rows: Segments | None) -> Segments | None:
        if rows is None:
            return None
        category = np.array([kinds[i] for i in rows.ids.tolist()], np.int32)
        return Segments(rows.ids, category, rows.score)

    return Source.of([settled(rows) for rows in frames])


# ------------------------------------------------------------------------- writing


class TreeWriter:
    """Writes a tree frame by frame; `close` writes `pred.json`."""

    def __init__(self, folder: pathlib.Path | str, category_names: Sequence[str]):
        self._folder = pathlib.Path(folder)
        self._raw = self._folder / "Annotations" / "Raw"
        self._raw.mkdir(parents=True, exist_ok=True)
        self._index = {name: k for k, name in enumerate(category_names)}
        self._rows: list[dict[str, Any]] = []

    def add(
        self, frame: str, labels: np.ndarray | None, infos: list[dict[str, Any]]
    ) -> None:
        """Lists what is in a frame and writes its map, unless that cannot be read."""
        if labels is not None:
            arrays.write_npy(self._raw / f"{frame}.npy", labels.astype(np.uint32))
        self._rows.append({"file_name": f"{frame}.jpg", "segments_info": infos})

    def close(self) -> None:
        """Writes `pred.json`."""
        data = {"annotations": self._rows, "category_name2id": self._index}
        arrays.write_json(self._folder / "pred.json", data, indent=None)


def write_tracks(
    folder: pathlib.Path | str,
    clip: Clip,
    table: TrackTable,
    args: Mapping[str, Any],
) -> None:
    """Writes `pred.json`, `args.json` and `Annotations/Raw` of tracks.

    Every frame that can be read gets a map, zeros without tracks. A track's category is
    that of its last observation; its places are in metres.

    Args:
      clip: With labels.

    Raises:
      UsageError: the clip has no labels.
    """
    if clip.labels is None:
        raise UsageError(f"{clip.name}: no labels to write")
    kept = np.flatnonzero(table.track_id > 0)
    last = {int(table.track_id[n]): int(table.category[n]) for n in kept}
    frames: list[dict[int, dict[str, Any]]] = [{} for _ in clip.frame_ids]
    names: list[dict[int, int]] = [{} for _ in clip.frame_ids]
    for n in kept:
        t, track = int(table.frame_idx[n]), int(table.track_id[n])
        place = np.asarray(table.location[n], float).tolist()
        row = {"category_id": last[track], "id": track, "loc3d": place}
        frames[t].setdefault(track, row)  # Two segments may share a track.
        names[t][int(table.segment_id[n])] = track
    writer = TreeWriter(folder, clip.category_names)
    for t, frame in enumerate(clip.frame_ids):
        writer.add(frame, _renamed(clip, t, names[t]), list(frames[t].values()))
    writer.close()
    arrays.write_json(pathlib.Path(folder) / "args.json", dict(args))


def _renamed(clip: Clip, t: int, names: Mapping[int, int]) -> np.ndarray | None:
    """The frame's map of tracks; None if it cannot be read."""
    assert clip.labels is not None
    try:
        labels = clip.labels[t]
    except FrameError:
        return None
    return (
        np.zeros(clip.size_hw, np.int32) if labels is None else renamed(labels, names)
    )


def infos_of(rows: Segments | None, labels: np.ndarray) -> list[dict[str, Any]]:
    """What `pred.json` lists of a frame's 2D segments, with their areas in pixels."""
    if rows is None:
        return []
    ids, counts = np.unique(labels, return_counts=True)
    area = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    table = zip(
        rows.ids.tolist(), rows.category.tolist(), rows.score.tolist(), strict=True
    )
    return [
        {"id": i, "category_id": c, "score": s, "area": area.get(i, 0)}
        for i, c, s in table
    ]


# ------------------------------------------------------------------------ features


def read_features(path: pathlib.Path, _: tuple[int, int]) -> SegmentFeatures:
    """Reads the pickled {label: (1, D)} of one frame.

    Raises:
      FrameError: unreadable, ragged or not finite.
    """

    try:
        found = pickles.read_npy_dict(path)
    except UsageError as err:
        raise FrameError(str(err)) from None
    try:
        ids = np.array([_label(key) for key in found], np.int64)
        rows = [np.asarray(v, np.float32).reshape(-1) for v in found.values()]
        values = np.stack(rows) if rows else np.zeros((0, 0), np.float32)
    except (TypeError, ValueError, OverflowError) as err:
        raise FrameError(f"{path}: expected {{label: (1, D)}} ({err})") from None
    if not np.isfinite(values).all():
        raise FrameError(f"{path}: features that are not finite")
    return SegmentFeatures(ids, values)


def _label(key: Any) -> int:
    if not isinstance(key, int | np.integer):
        raise ValueError(f"the key {key!r:.40} is no label")
    return int(key)


def write_features(path: pathlib.Path, found: SegmentFeatures) -> None:
    """Writes the pickled {label: (1, D) float32} of one frame."""
    table = {int(i): v[None] for i, v in zip(found.ids, found.values, strict=True)}
    pickles.write_npy_dict(path, table)
