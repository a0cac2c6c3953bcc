"""Camera poses of EPIC-KITCHENS videos: EPIC-FIELDS JSON and NeuralDiff's `meta.json`.

Source: EgoSeg3D, section 3.2 of its spec; NeuralDiff, section 3.2 of its spec.
Differs: intrinsics of `meta.json` come from its `camera`; its own `intrinsics` took
values of the wrong fields.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from egojax.data import arrays, colmap
from egojax.data.csv_tables import raise_all
from egojax.data.images import natural_key
from egojax.errors import UsageError
from egojax.ops import camera as camera_ops
from egojax.types import Camera


@dataclasses.dataclass(frozen=True)
class PoseFile:
    """Poses of the registered frames of one video, in order of name."""

    w2c: np.ndarray  # float64 (T, 4, 4)
    names: tuple[str, ...]  # Without suffix.
    camera: Camera  # At the origin: intrinsics and lens.
    points: np.ndarray | None = None  # float64 (P, 3)
    notes: tuple[str, ...] = ()

    @property
    def intrinsics(self) -> np.ndarray:
        return np.asarray(self.camera.intrinsics)

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.camera.size_hw

    def cameras(self) -> dict[str, Camera]:
        """Cameras by name of frame."""
        rows = zip(self.names, self.w2c, strict=True)
        return {n: dataclasses.replace(self.camera, w2c=w2c) for n, w2c in rows}


def read_poses(path: pathlib.Path | str) -> PoseFile:
    """Reads an EPIC-FIELDS JSON, or the `meta.json` of a NeuralDiff scene.

    Raises:
      UsageError: malformed; a line for each problem.
    """
    path = pathlib.Path(path)
    data = arrays.read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("images"), dict):
        raise UsageError(f'{path}: expected an object with "camera" and "images"')
    camera = _camera(path, data.get("camera"))
    if "poses" in data:
        return _read_neuraldiff(path, data, camera)
    problems: list[str] = []
    rows = _numbers(path, data["images"], (7,), problems)
    for name, row in rows.items():
        if not 0.99 < np.linalg.norm(row[:4]) < 1.01:
            problems.append(f"{path}: images.{name}: not a unit quaternion")
    raise_all(path, problems)
    names = sorted(rows, key=natural_key)
    w2c = [
        colmap.pose(colmap.ColmapImage(1, tuple(rows[n][:4]), tuple(rows[n][4:])))
        for n in names
    ]
    stems = tuple(pathlib.PurePath(n).stem for n in names)
    return PoseFile(np.array(w2c), stems, camera, _points(path, data.get("points")))


def write_poses(path: pathlib.Path | str, model: colmap.ColmapModel) -> None:
    """Writes a model with one camera as EPIC-FIELDS JSON."""
    ((key, camera),) = model.cameras.items()
    height, width = camera.size_hw
    about = {"id": key, "model": camera.model, "width": width, "height": height}
    images = {n: [*i.quaternion, *i.translation] for n, i in model.images.items()}
    points = np.concatenate([model.points, model.colors], 1)
    arrays.write_json(
        path,
        {
            "camera": {**about, "params": list(camera.params)},
            "images": images,
            "points": points.tolist(),
        },
    )


def _read_neuraldiff(path: pathlib.Path, data: Any, camera: Camera) -> PoseFile:
    problems: list[str] = []
    given = data["poses"]
    if not isinstance(given, dict):
        raise UsageError(f"{path}: poses: expected an object by frame")
    rows = _numbers(path, given, (3, 4), problems)
    raise_all(path, problems)
    keys = sorted(rows, key=natural_key)
    unnamed = [f"{path}: images: no {k}, which has a pose" for k in keys]
    raise_all(
        path, [u for u, k in zip(unnamed, keys, strict=True) if k not in data["images"]]
    )
    c2w = np.tile(np.eye(4), (len(keys), 1, 1))
    c2w[:, :3] = [rows[key] for key in keys]
    w2c = np.linalg.inv(camera_ops.c2w_from_opengl(c2w))
    names = tuple(pathlib.PurePath(str(data["images"][k])).stem for k in keys)
    note = f"{path}: its intrinsics mix focal and centre; those of its camera are used"
    return PoseFile(w2c, names, camera, notes=(note,))


def _camera(path: pathlib.Path, given: Any) -> Camera:
    try:
        size_hw = (int(given["height"]), int(given["width"]))
        params = np.asarray(given["params"], np.float64)
        camera = camera_ops.camera_from_colmap(given["model"], params, size_hw)
    except (KeyError, TypeError, ValueError) as err:
        raise UsageError(
            f"{path}: camera: expected model, width, height, params ({err})"
        ) from None
    if min(size_hw) < 1 or not np.isfinite(params).all() or params[0] <= 0:
        raise UsageError(f"{path}: camera: a size or a parameter out of range")
    return camera


def _numbers(
    path: pathlib.Path, given: dict, shape: tuple[int, ...], problems: list[str]
) -> dict[str, np.ndarray]:
    """The entries as arrays; those that are none are told."""
    out = {}
    for name, value in given.items():
        try:
            found = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            found = np.zeros(0)
        if found.shape == shape and np.isfinite(found).all():
            out[name] = found
        else:
            size = " x ".join(map(str, shape))
            problems.append(f"{path}: {name}: expected {size} finite numbers")
    if not given:
        problems.append(f"{path}: no frame has a pose")
    return out


def _points(path: pathlib.Path, given: Any) -> np.ndarray | None:
    if not given:
        return None
    try:
        points = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        points = np.zeros((0, 0))
    if points.ndim != 2 or points.shape[1] < 3 or not np.isfinite(points).all():
        raise UsageError(f"{path}: points: expected rows of x, y, z, r, g, b")
    return points[:, :3]
