"""Tables by the names of frames: matched to a clip's frames, and `segments.json`."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from egojax.data import arrays, images
from egojax.data.values import is_number
from egojax.errors import UsageError
from egojax.types import Segments, Source


def match_frames(
    where: pathlib.Path, frame_ids: Sequence[str], found: Mapping[str, Any]
) -> tuple[list[Any], tuple[str, ...]]:
    """The entry of `found` for each frame (None: has none), and what to tell the user.

    Raises:
      UsageError: no entry matches any frame.
    """
    if not set(found) & set(frame_ids):
        found = _by_number(found, frame_ids)
    if not found:
        raise UsageError(
            f"{where}: no name here is a frame; the frames are {frame_ids[0]} to "
            f"{frame_ids[-1]}"
        )
    known = set(frame_ids)
    paths = [found.get(frame) for frame in frame_ids]
    missing = [frame for frame in frame_ids if frame not in found]
    extra = [key for key in found if key not in known]
    notes = []
    if missing:
        notes.append(f"{where}: nothing for {len(missing)} frames ({_some(missing)})")
    if extra:
        notes.append(f"{where}: {len(extra)} entries are no frames ({_some(extra)})")
    return paths, tuple(notes)


def _by_number(found: Mapping[str, Any], frame_ids: Sequence[str]) -> dict[str, Any]:
    """Entries by the frame with the same last number, where that is unambiguous."""
    frames = {images.last_number(frame): frame for frame in frame_ids}
    numbers = {images.last_number(key) for key in found}
    if None in numbers or len(frames) < len(frame_ids) or len(numbers) < len(found):
        return {}
    renamed = {
        frames.get(images.last_number(key), key): value for key, value in found.items()
    }
    return renamed if set(renamed) & set(frame_ids) else {}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def read_segments(
    path: pathlib.Path, frame_ids: Sequence[str], labels: Source[Any]
) -> tuple[Source[Any], tuple[str, ...], tuple[str, ...]]:
    """Reads categories and scores of segments.

    {"segments": {"12": {"category": "mug", "score": 0.9}},
     "frames": {"frame_0012": [{"id": 12, "category": "mug", "score": 0.9}]}}

    The first holds for the whole clip, the second for a frame; an entry of a frame goes
    first. `score` is 1 if left out. Ids that are not listed have no category (-1) and
    score 1. Categories are numbered in the order of an optional list "categories", else
    by name.

    Returns:
      The segments, the category names, and notes.

    Raises:
      UsageError: malformed, a line for each problem.
    """
    data = arrays.read_json(path)
    if not isinstance(data, dict) or not data.keys() & {"segments", "frames"}:
        raise UsageError(f'{path}: expected an object with "segments" or "frames"')
    problems: list[str] = []
    shared = _entries(path, "segments", data.get("segments", {}), problems)
    frames = data.get("frames", {})
    if not isinstance(frames, dict):
        raise UsageError(f"{path}: frames: expected an object, a list for each frame")
    per_frame = {
        frame: _frame_entries(path, frame, rows, problems)
        for frame, rows in frames.items()
    }
    if problems:
        raise UsageError.from_problems(problems)
    listed = _category_names(path, data, (shared, *per_frame.values()))
    number = {kind: index for index, kind in enumerate(listed)}
    rows: list[Any] = [None] * len(frame_ids)
    notes: tuple[str, ...] = ()
    if per_frame:
        rows, notes = match_frames(path, frame_ids, per_frame)

    def read(t: int) -> Segments | None:
        frame = labels[t]
        if frame is None:
            return None
        ids = np.unique(frame)
        ids = ids[ids > 0].astype(np.int64)
        table = {**shared, **(rows[t] or {})}
        found = [table.get(int(i)) for i in ids]
        kinds = [-1 if f is None else number[f[0]] for f in found]
        scores = [1.0 if f is None else f[1] for f in found]
        return Segments(
            ids, np.asarray(kinds, np.int32), np.asarray(scores, np.float32)
        )

    return Source(read, len(frame_ids)), tuple(listed), notes


def _category_names(
    path: pathlib.Path,
    data: Mapping[str, Any],
    tables: Sequence[Mapping[int, tuple[str, float]]],
) -> list[str]:
    """The names in order of their numbers; all that the tables use are among them."""
    used = {kind for table in tables for kind, _ in table.values()}
    listed = data.get("categories", sorted(used))
    if not isinstance(listed, list) or len(set(map(str, listed))) < len(listed):
        raise UsageError(f"{path}: categories: expected a list of different names")
    unknown = sorted(used - set(listed))
    if unknown:
        raise UsageError(f"{path}: not in categories: {_some(unknown)}")
    return listed


def _frame_entries(
    path: pathlib.Path, frame: str, rows: Any, problems: list[str]
) -> dict[int, tuple[str, float]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        problems.append(f"{path}: frames.{frame}: expected a list of objects")
        return {}
    keyed = {str(row.get("id")): row for row in rows}
    if len(keyed) < len(rows):
        problems.append(f"{path}: frames.{frame}: an id is listed twice")
    return _entries(path, f"frames.{frame}", keyed, problems)


def _entries(
    path: pathlib.Path, where: str, table: Any, problems: list[str]
) -> dict[int, tuple[str, float]]:
    """Category and score by id; what is wrong goes to `problems`."""
    if not isinstance(table, dict):
        problems.append(f"{path}: {where}: expected an object with a member per id")
        return {}
    out = {}
    for key, entry in table.items():
        spot = f"{path}: {where}.{key}"
        if not (key.isdecimal() and 0 < int(key) < 2**31):
            problems.append(f"{spot}: the id must be a number from 1 to 2^31 - 1")
        elif not isinstance(entry, dict) or not isinstance(entry.get("category"), str):
            problems.append(f"{spot}: expected a category (text)")
        elif not _is_score(entry.get("score", 1.0)):
            problems.append(f"{spot}: score {entry['score']!r} is not in 0 to 1")
        else:
            out[int(key)] = (entry["category"], float(entry.get("score", 1.0)))
    return out


def _is_score(value: Any) -> bool:
    return is_number(value) and 0.0 <= value <= 1.0
