"""What tracking leaves in a clip's folder: table, label maps, `pred.json`, scores."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from egojax.data import arrays, images
from egojax.data.stream import host_frames
from egojax.errors import UsageError
from egojax.metrics import PermanenceScores, TrackingScores
from egojax.ops.segments import renamed
from egojax.types import Clip, SkippedFrame, TrackTable

T = TypeVar("T")


def write_table(path: pathlib.Path, table: TrackTable, clip: Clip) -> None:
    """Writes `tracks.npz`: the columns, the frames' names, the categories' names."""
    about = {"frame_ids": clip.frame_ids, "category_names": clip.category_names}
    columns = {f.name: getattr(table, f.name) for f in dataclasses.fields(table)}
    arrays.write_npz(path, {**columns, "about": np.array(json.dumps(about))})


def read_table(path: pathlib.Path) -> TrackTable:
    """Reads `tracks.npz`.

    Raises:
      UsageError: a column is missing, or columns differ in length.
    """
    found = arrays.read_npz(path)
    names = [f.name for f in dataclasses.fields(TrackTable)]
    missing = [name for name in names if name not in found]
    if missing:
        raise UsageError(f"{path}: no column {', '.join(missing)}; not a tracks.npz")
    lengths = {name: len(found[name]) for name in names}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"{path}: columns differ in length: {lengths}")
    return TrackTable(**{name: found[name] for name in names})


def write_labels(
    folder: pathlib.Path,
    clip: Clip,
    names: Sequence[Mapping[int, int]],
    progress: Callable[[int, int], None],
) -> list[SkippedFrame]:
    """Writes the renamed label maps as 16-bit PNG; maps that are there are kept.

    Args:
      folder: `labels/`.
      clip: With labels.
      names: By frame: 2D id to track id, at most 65535.
      progress: Told how far it is.

    Returns:
      Frames that could not be read.
    """
    arrays.make_folder(folder)
    skipped = []
    for frame in host_frames(clip, ["labels"]):
        t = frame.frame_idx
        path = folder / f"{clip.frame_ids[t]}.png"
        if frame.skipped is not None:
            skipped.append(frame.skipped)
        elif frame.layers["labels"] is not None and not path.exists():
            images.write_labels(path, renamed(frame.layers["labels"], names[t]))
        progress(t + 1, clip.num_frames)
    return skipped


def write_predictions(path: pathlib.Path, clip: Clip, table: TrackTable) -> None:
    """Writes `pred.json`: per frame each object's id, 2D id, category, place."""
    frames: list[dict[str, Any]] = [
        {"file_name": name, "segments_info": []} for name in clip.frame_ids
    ]
    for n in range(len(table)):
        frames[int(table.frame_idx[n])]["segments_info"].append(
            {
                "id": int(table.track_id[n]),
                "segment_id": int(table.segment_id[n]),
                "category_id": int(table.category[n]),
                "score": round(float(table.score[n]), 4),
                "area": int(table.area[n]),
                "confidence": round(float(table.confidence[n]), 4),
                "loc3d": np.round(table.location[n].astype(float), 5),
            }
        )
    names = {name: k for k, name in enumerate(clip.category_names)}
    arrays.write_json(path, {"annotations": frames, "category_name2id": names})


# ----------------------------------------------------------------------- scores


def write_scores(
    folder: pathlib.Path,
    scores: Mapping[str, Any],
    geometry: Mapping[str, float] | None = None,
) -> None:
    """Writes `scores.json` for people and `scores.npz` for adding clips up.

    Args:
      folder: Of the clip.
      scores: By naming: a record with `tracking` and `permanence` (or None).
      geometry: Numbers of depth and lifting, if there are any.
    """
    numbers: dict[str, Any] = {}
    counts: dict[str, np.ndarray] = {}
    for key, row in scores.items():
        numbers[key] = row.tracking.compute()
        for name in ("protocol", "strict"):
            video = getattr(row, name)
            if video is not None:
                found = {k: v for k, v in video.compute().items() if "_by_" not in k}
                numbers[key][f"egoseg3d_{name}"] = {**found, "skipped": video.skipped}
        for n, leaf in enumerate(jax.tree.leaves(row.tracking)):
            counts[f"{key}/tracking/{n:02d}"] = np.asarray(leaf)
        if row.permanence is not None:
            numbers[key] |= row.permanence.compute()
            for n, leaf in enumerate(jax.tree.leaves(row.permanence)):
                counts[f"{key}/permanence/{n:02d}"] = np.asarray(leaf)
    arrays.write_npz(folder / "scores.npz", counts)
    about = {"geometry": dict(geometry)} if geometry else {}
    arrays.write_json(folder / "scores.json", {"names": numbers, **about})


def write_hota(path: pathlib.Path, scores: Any) -> None:
    """Writes the official `hota.json`: the protocol's numbers, class by class."""
    if scores.protocol is None:
        return
    classes = {key: row.compute() for key, row in scores.protocol.per_class.items()}
    together = scores.protocol.compute()
    arrays.write_json(path, {"all_classes": together, "per_class": classes})


def read_scores(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """By naming: `numbers` as printed, `tracking` and `permanence` to add up."""
    counts = _read_if_there(arrays.read_npz, folder / "scores.npz")
    numbers = read_numbers(folder)
    if counts is None:
        return {}
    out: dict[str, dict[str, Any]] = {}
    for key in numbers:
        out[key] = {"numbers": numbers[key]}
        for part, blank in (
            ("tracking", TrackingScores.empty()),
            ("permanence", PermanenceScores.empty()),
        ):
            names = sorted(n for n in counts if n.startswith(f"{key}/{part}/"))
            leaves = [counts[n] for n in names]
            tree = jax.tree.structure(blank)
            out[key][part] = jax.tree.unflatten(tree, leaves) if leaves else None
    return out


def read_numbers(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """The numbers of each naming, as written; empty if nothing is scored."""
    return _read_about(folder).get("names", {})


def write_true_ids(folder: pathlib.Path, ids: np.ndarray) -> None:
    """The true object of each row of the table, beside the scores."""
    arrays.write_npz(folder / "true_ids.npz", {"true_id": ids})


def read_true_ids(folder: pathlib.Path) -> np.ndarray | None:
    """See `write_true_ids`; None where the truth is not known."""
    path = folder / "true_ids.npz"
    return arrays.read_npz(path)["true_id"] if path.exists() else None


def read_geometry(folder: pathlib.Path) -> dict[str, float]:
    """Numbers of depth and lifting; empty if there are none."""
    return _read_about(folder).get("geometry", {})


def _read_about(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / "scores.json"
    found = _read_if_there(arrays.read_json, path)
    if found is None:
        return {}
    parts = ("names", "geometry")
    if not isinstance(found, dict) or not all(
        isinstance(found.get(part, {}), dict) for part in parts
    ):
        raise UsageError(f"{path}: no scores; --only=score writes them again")
    return found


def _read_if_there(read: Callable[[pathlib.Path], T], path: pathlib.Path) -> T | None:
    """What the file holds; None if it is not there, or is taken away just now.

    Shards add up what others have scored, while these go on.
    """
    try:
        return read(path)
    except UsageError:
        if path.exists():
            raise
        return None
