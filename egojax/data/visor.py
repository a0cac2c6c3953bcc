"""VISOR annotations: polygons to class maps and back, unions, vocabularies.

Maps are int32 with VISOR class ids and -1 for the background: class 0, "tap", is one
like any other. Maps that the published code has extended have background 0 instead, and
no taps (`TAP_DEFECT`).

Source: Darkhalil et al. 2022 (VISOR), the files of its annotations; EgoSeg3D,
visor_JSON_to_segmaps.py, postprocess_deva_gt.py and extract_classes_from_visor.py.
"""

import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from egojax.data import arrays, pickles
from egojax.data.images import last_number, natural_key
from egojax.data.values import is_int
from egojax.errors import UsageError
from egojax.ops.segments import resize_official
from egojax.types import Source

BACKGROUND = -1
HANDS = (300, 301)
MAX_FRAME = 20_000  # The published system uses no later frame of a video.
MAX_SIDE = 1 << 14  # Pixels; a larger map is a mistake.
MAX_CLASS = 1 << 20
TAP_DEFECT = (
    'class 0 ("tap") cannot be told from the background in these maps: it is left out '
    "of the truth"
)


class Annotations(NamedTuple):
    """An annotation file."""

    frame_ids: tuple[str, ...]  # In natural order.
    maps: Source[Any]  # int32 (h, w), -1 = background.
    classes: dict[str, int]  # Class id by name, of all annotations.
    size_hw: tuple[int, int]  # Of the maps.


# ---------------------------------------------------------------------- class maps


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
        given = [np.array(p, np.float64) for p in entry["segments"] if len(p)]
        if key not in seen and given:
            cv2.fillPoly(out, [p.astype(np.int32) for p in given], entry["class_id"])
        seen.add(key)
    return out


def polygons(classes: np.ndarray, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """The annotations that `rasterize` fills into this very map.

    Args:
      classes: int (H, W), -1 = background.
      names: By class id.
    """
    out = []
    for number in np.unique(classes[classes != BACKGROUND]).tolist():
        mask = (classes == number).astype(np.uint8)
        found, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        segments = [contour[:, 0].astype(float).tolist() for contour in found]
        out.append({"name": names[number], "class_id": number, "segments": segments})
    return out


def union(extended: np.ndarray, original: np.ndarray) -> np.ndarray:
    """The larger class id of both, pixel by pixel, as the official maps have it.

    Args:
      extended: (H, W), background 0 or -1.
      original: (h, w), background -1; resized with nearest if its size differs.
    """
    return np.maximum(extended, resize_official(original, extended.shape))


# --------------------------------------------------------------- annotation files


def read_annotations(
    path: pathlib.Path | str, frame_mapping: pathlib.Path | str | None = None
) -> Annotations:
    """Reads a sparse or dense annotation file.

    Where two entries are of one frame, the later one counts.

    Args:
      frame_mapping: The official JSON {VID: {VISOR name: EPIC name}}, if it applies.

    Raises:
      UsageError: malformed; a line for each problem.
    """
    path = pathlib.Path(path)
    data = _document(path)
    size_hw = _size(path, data.get("info"))
    renames = {} if frame_mapping is None else _mapping(pathlib.Path(frame_mapping))
    frames: dict[str, list[Mapping[str, Any]]] = {}
    for image, rows in _entries(path, data):
        frames[_frame(image, renames)] = rows
    order = tuple(sorted(frames, key=natural_key))
    classes = {a["name"]: a["class_id"] for rows in frames.values() for a in rows}
    maps = Source(lambda t: rasterize(frames[order[t]], size_hw), len(order))
    return Annotations(order, maps, classes, size_hw)


def annotate(
    video: str, frame: str, classes: np.ndarray, names: Mapping[int, str]
) -> dict[str, Any]:
    """The entry of an annotation file for one class map.

    Args:
      classes: int (H, W), -1 = background.
      names: By class id.
    """
    rows = [
        {"id": f"{frame}-{n}", **entry, "type": 1}
        for n, entry in enumerate(polygons(classes, names))
    ]
    image = {"name": f"{video}_{frame}.png", "video": video}
    return {"image": image, "annotations": rows}


def write_annotations(
    path: pathlib.Path | str, size_hw: tuple[int, int], entries: list[dict[str, Any]]
) -> None:
    """Writes entries of `annotate` as a dense file; its maps are those they come from.

    Args:
      size_hw: Of the maps.
    """
    info = {"details": f"polygons at {size_hw[1]}x{size_hw[0]} resolution"}
    arrays.write_json(path, {"info": info, "video_annotations": entries}, indent=None)


def _document(path: pathlib.Path) -> dict[str, Any]:
    data = arrays.read_json(path)
    if isinstance(data, dict) and isinstance(data.get("video_annotations"), list):
        return data
    raise UsageError(f'{path}: expected "info" and "video_annotations"')


def _entries(
    path: pathlib.Path, data: dict[str, Any]
) -> list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]]:
    """Image and annotations of each entry."""
    problems: list[str] = []
    out = []
    for n, entry in enumerate(data["video_annotations"]):
        where = f"{path}: video_annotations[{n}]"
        try:
            arrays.frame_name(entry["image"]["name"])
            told = [_problem(row) for row in entry["annotations"]]
        except (KeyError, TypeError) as err:
            problems.append(f"{where}: expected image.name and annotations ({err!r})")
            continue
        except ValueError as err:
            problems.append(f"{where}: {err}")
            continue
        problems += [f"{where}: annotations[{k}]: {p}" for k, p in enumerate(told) if p]
        out.append((entry["image"], entry["annotations"]))
    if problems:
        raise UsageError.from_problems(problems)
    return out


def _size(path: pathlib.Path, info: Any) -> tuple[int, int]:
    details = str(info.get("details", "")) if isinstance(info, dict) else ""
    found = re.search(r"(\d{1,5})x(\d{1,5})", details)
    if not found:
        raise UsageError(f"{path}: info.details: no resolution such as 854x480 in it")
    width, height = int(found[1]), int(found[2])
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise UsageError(f"{path}: info.details: a resolution of {width}x{height}")
    return height, width


def _mapping(path: pathlib.Path) -> dict[str, str]:
    data = arrays.read_json(path)
    try:
        return {
            arrays.frame_name(old): arrays.frame_name(new)
            for table in data.values()
            for old, new in table.items()
        }
    except (AttributeError, ValueError) as err:
        raise UsageError(
            f"{path}: expected {{VID: {{VISOR name: EPIC name}}}} ({err})"
        ) from None


def _frame(image: Mapping[str, Any], renames: Mapping[str, str]) -> str:
    """`frame_0000000937` for `P01_01_frame_0000000937.png` of the video P01_01."""
    stem = arrays.frame_name(image["name"])
    if stem in renames:
        return renames[stem]
    frame = stem.removeprefix(f"{image.get('video')}_")
    return frame if frame != stem else "_".join(stem.split("_")[-2:])


def _problem(entry: Any) -> str:
    """What is wrong with an annotation; "" = nothing."""
    try:
        number = entry["class_id"]
        if not isinstance(entry["name"], str) or not is_int(number):
            return "expected a name and a class_id"
        if not 0 <= number < MAX_CLASS:
            return f"class_id {number} is not in 0 to {MAX_CLASS - 1}"
        for polygon in entry["segments"]:
            points = np.array(polygon, np.float64)
            if len(points) and points.shape != (len(points), 2):
                return f"a polygon of shape {points.shape}; expected vertices (x, y)"
            if not (np.abs(points) < 2 * MAX_SIDE).all():
                return "a vertex is not finite or far outside"
    except (KeyError, TypeError, ValueError, OverflowError) as err:
        return f"expected name, class_id and segments of (x, y) ({err!r})"
    return ""


# -------------------------------------------------------------------- vocabularies


def vocabulary(path: pathlib.Path | str) -> dict[str, Any]:
    """What `VID_classes` holds, from an annotation file: see `read_vocabulary`.

    Names are sorted, where the published code leaves them in the order of a set.

    Source: EgoSeg3D, scripts/preprocessing/extract_classes_from_visor.py.

    Raises:
      UsageError: malformed; a line for each problem.
    """
    path = pathlib.Path(path)
    images: list[dict[str, Any]] = []
    early: set[str] = set()
    num_early = 0
    for image, rows in _entries(path, _document(path)):
        things = [row for row in rows if row["class_id"] not in HANDS]
        table = {row["name"]: row["class_id"] for row in things}
        bare = [{k: v for k, v in row.items() if k != "segments"} for row in rows]
        images.append({"image": image, "annotations": bare, "class2id": table})
        if (last_number(image["name"]) or 0) < MAX_FRAME:
            num_early += 1
            early |= table.keys()
    return {
        "visor": images,
        "n_frames_20k": num_early,
        "class_names": sorted({name for row in images for name in row["class2id"]}),
        "class_names_20k": sorted(early),
        "class_names_20k_filtered": sorted(n for n in early if "/" not in n),
    }


def read_vocabulary(path: pathlib.Path | str) -> dict[str, int]:
    """Class id by name from `VID_classes.pt`, or from JSON with the same keys.

    Raises:
      UsageError: missing or malformed.
    """
    path = pathlib.Path(path)
    read = arrays.read_json if path.suffix == ".json" else pickles.read_pt
    try:
        tables = [entry["class2id"] for entry in read(path)["visor"]]
        pairs = [pair for table in tables for pair in table.items()]
    except (KeyError, TypeError, AttributeError) as err:
        raise UsageError(f'{path}: expected "visor", "class2id" ({err!r})') from None
    for name, number in pairs:
        if not isinstance(name, str) or not is_int(number) or number < 0:
            raise UsageError(f"{path}: class2id: {name!r:.80}: {number!r:.80}")
    return dict(pairs)
