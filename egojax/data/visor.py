"""VISOR annotations: polygons to class maps, and their union with extended maps.

Maps are int32 with VISOR class ids and -1 for the background.

Source: EgoSeg3D, sections 2.11 and 3.3 of its spec.
"""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from egojax.data import arrays
from egojax.data.csv_tables import raise_all
from egojax.data.images import natural_key
from egojax.errors import UsageError
from egojax.types import Source

BACKGROUND = -1


def rasterize(
    annotations: list[Mapping[str, Any]], size_hw: tuple[int, int]
) -> np.ndarray:
    """Fills the polygons of one image, later ones over earlier ones.

    Vertices are cut to integers and borders belong to the polygon. A second annotation
    of the same name and class is ignored.

    Args:
      annotations: With `name`, `class_id` and `segments`: polygons of (x, y).
      size_hw: Pixels.

    Returns:
      int32 (H, W).
    """
    out = np.full(size_hw, BACKGROUND, np.int32)
    seen = set()
    for entry in annotations:
        key = (entry["name"], entry["class_id"])
        polygons = [np.array(p, np.float64) for p in entry["segments"] if len(p)]
        if key not in seen and polygons:
            rounded = [p.astype(np.int32) for p in polygons]
            cv2.fillPoly(out, rounded, int(entry["class_id"]))
        seen.add(key)
    return out


def union(extended: np.ndarray, original: np.ndarray) -> np.ndarray:
    """The larger class id of both, pixel by pixel, as the official maps have it.

    Args:
      extended: (H, W), background 0 or -1.
      original: (h, w), background -1; resized with nearest if its size differs.
    """
    if original.shape != extended.shape:
        size = (extended.shape[1], extended.shape[0])
        wide = original.astype(np.int32)
        original = cv2.resize(wide, size, interpolation=cv2.INTER_NEAREST)
    return np.maximum(extended, original)


def read_annotations(
    path: pathlib.Path | str, frame_mapping: pathlib.Path | str | None = None
) -> tuple[tuple[str, ...], Source[Any], dict[str, int]]:
    """Reads a sparse or dense annotation file.

    Args:
      frame_mapping: The official JSON {VID: {VISOR name: EPIC name}}, if it applies.

    Returns:
      Names of frames in order, class maps, and class ids by name.

    Raises:
      UsageError: malformed; a line for each problem.
    """
    path = pathlib.Path(path)
    data = arrays.read_json(path)
    if not isinstance(data, dict) or not isinstance(
        data.get("video_annotations"), list
    ):
        raise UsageError(f'{path}: expected "info" and "video_annotations"')
    size_hw = _size(path, data.get("info"))
    renames = {} if frame_mapping is None else _mapping(pathlib.Path(frame_mapping))
    problems: list[str] = []
    frames: dict[str, list[Mapping[str, Any]]] = {}
    for n, entry in enumerate(data["video_annotations"]):
        where = f"{path}: video_annotations[{n}]"
        try:
            name = str(entry["image"]["name"])
            told = [_problem(a) for a in entry["annotations"]]
        except (KeyError, TypeError) as err:
            problems.append(f"{where}: expected image.name and annotations ({err!r})")
            continue
        problems += [f"{where}: annotations[{k}]: {p}" for k, p in enumerate(told) if p]
        frames[_frame(name, renames)] = entry["annotations"]
    raise_all(path, problems)
    order = tuple(sorted(frames, key=natural_key))
    classes = {a["name"]: int(a["class_id"]) for rows in frames.values() for a in rows}
    maps = Source(lambda t: rasterize(frames[order[t]], size_hw), len(order))
    return order, maps, classes


def _size(path: pathlib.Path, info: Any) -> tuple[int, int]:
    details = str(info.get("details", "")) if isinstance(info, dict) else ""
    found = re.search(r"(\d{1,5})x(\d{1,5})", details)
    if not found or not int(found[1]) * int(found[2]):
        raise UsageError(f"{path}: info.details: no resolution such as 854x480 in it")
    return int(found[2]), int(found[1])


def _mapping(path: pathlib.Path) -> dict[str, str]:
    data = arrays.read_json(path)
    if not isinstance(data, dict) or not all(
        isinstance(v, dict) for v in data.values()
    ):
        raise UsageError(f"{path}: expected {{VID: {{VISOR name: EPIC name}}}}")
    return {
        pathlib.PurePath(old).stem: str(new)
        for table in data.values()
        for old, new in table.items()
    }


def _frame(name: str, renames: Mapping[str, str]) -> str:
    """`frame_0000000937` for `P01_01_frame_0000000937.png`."""
    stem = pathlib.PurePath(name).stem
    stem = pathlib.PurePath(renames.get(stem, stem)).stem
    return "_".join(stem.split("_")[-2:])


def _problem(entry: Any) -> str:
    """What is wrong with an annotation; "" = nothing."""
    try:
        if not isinstance(entry["name"], str) or not 0 <= int(entry["class_id"]) < 1e6:
            return "expected a name and a class_id >= 0"
        for polygon in entry["segments"]:
            points = np.array(polygon, np.float64).reshape(-1, 2)
            if not (np.abs(points) < 1e5).all():
                return "a vertex is not finite or far outside"
    except (KeyError, TypeError, ValueError, OverflowError) as err:
        return f"expected name, class_id and segments of (x, y) ({err!r})"
    return ""
