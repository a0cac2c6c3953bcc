"""Poses that lie in a folder of the user's own, whatever wrote them.

    FOLDER/cameras.json      ours (`data.poses`), or EPIC-FIELDS JSON under this name
    FOLDER/sparse/0/         a COLMAP model, binary or text; also in sparse,
                             colmap/sparse/0 or colmap
    FOLDER/ANYTHING.json     EPIC-FIELDS JSON, or a NeuralDiff `meta.json` with `camera`

The first of these that is there counts.
"""

import pathlib
from typing import Any

from egojax.data import arrays, colmap, epic, poses
from egojax.errors import UsageError

MODELS = ("sparse/0", "sparse", "colmap/sparse/0", "colmap")
OURS = ("cameras.json", "segments.json")  # Files that hold something else.

Found = tuple[poses.Poses | None, tuple[str, ...]]


def find_poses(folder: pathlib.Path) -> Found:
    """The poses in a folder, None without any, and what to tell of them.

    Raises:
      UsageError: malformed, or several JSON files hold poses.
    """
    listed = folder / "cameras.json"
    if listed.is_file():
        data = arrays.read_json(listed)
        is_ours = not isinstance(data, dict) or "frames" in data
        if is_ours or "images" not in data:
            return poses.read_cameras(listed), ()
        return _epic(listed, data)
    model = find_model(folder)
    if model is None:
        return _any_json(folder)
    found = colmap.read_model(model)
    cameras = {
        pathlib.PurePath(name).stem: camera
        for name, camera in colmap.cameras_by_name(found).items()
    }
    return poses.Poses(model, cameras, points=found.points, scale_known=False), ()


def find_model(folder: pathlib.Path) -> pathlib.Path | None:
    """Where the COLMAP model of a folder is; None without one."""
    for place in MODELS:
        path = folder / place
        if any((path / f"images.{kind}").is_file() for kind in ("bin", "txt")):
            return path
    return None


def _any_json(folder: pathlib.Path) -> Found:
    """The only JSON file that holds poses; what cannot be read is told."""
    holding: dict[pathlib.Path, Any] = {}
    told: tuple[str, ...] = ()
    for path in sorted(folder.glob("*.json")):
        try:
            data = arrays.read_json(path) if path.name not in OURS else None
        except UsageError as err:
            told = (*told, f"{err}; left aside")
            continue
        if _holds_poses(data):
            holding[path] = data
    if len(holding) > 1:
        names = ", ".join(path.name for path in holding)
        raise UsageError(f"{folder}: several files hold poses ({names}); keep one")
    if not holding:
        return None, told
    ((path, data),) = holding.items()
    found, notes = _epic(path, data)
    return found, (*told, *notes)


def _holds_poses(data: Any) -> bool:
    """Whether this is EPIC-FIELDS JSON or the like: images of others are a list."""
    if not isinstance(data, dict) or "camera" not in data:
        return False
    return isinstance(data.get("images"), dict)


def _epic(path: pathlib.Path, data: Any) -> Found:
    file = epic.parse_poses(path, data)
    found = poses.Poses(path, file.cameras(), points=file.points, scale_known=False)
    return found, file.notes
