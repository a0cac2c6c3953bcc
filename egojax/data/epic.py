"""Camera poses of EPIC-KITCHENS videos: EPIC-FIELDS JSON and NeuralDiff's `meta.json`.

Source: Tschernezki et al. 2023 (EPIC Fields), the files of its poses, as EgoSeg3D's
colmap_data_reader.py (read_colmap_data) takes them; NeuralDiff, colmap_converter.
Differs: intrinsics of `meta.json` come from its `camera`: the published converter read
the parameters of every model as (f, cx, cy), so that its own are wrong.
"""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from egojax.data import arrays, colmap, poses, values
from egojax.data.images import last_number, natural_key
from egojax.errors import UsageError
from egojax.ops import camera as camera_ops
from egojax.types import Camera

MAX_NAME = 255  # Bytes of a file's name.
ASPECT = 0.05  # Stored images may be wider or higher than the camera's by that.


@dataclasses.dataclass(frozen=True)
class PoseFile:
    """Poses of the registered frames of one video, in order of name.

    Other frames of the video have none. Numbers in names count frames at `fps`.
    """

    w2c: np.ndarray  # float64 (T, 4, 4)
    names: tuple[str, ...]  # Without suffix.
    camera: Camera  # At the origin: intrinsics and lens.
    files: tuple[str, ...]  # Images as the file names them.
    keys: tuple[str, ...]  # By which the file's tables know the frames.
    points: np.ndarray | None = None  # float64 (P, 3)
    notes: tuple[str, ...] = ()
    fps: float | None = None  # Of the video; None if the file is not named after it.

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
    return parse_poses(path, arrays.read_json(path))


def parse_poses(
    path: pathlib.Path, data: Any, stored_hw: tuple[int, int] | None = None
) -> PoseFile:
    """As `read_poses`, of what the file holds.

    Args:
      stored_hw: Size of the images of a scene, where they are there: its intrinsics
        belong to them, if it has no camera.
    """
    if not isinstance(data, dict) or not isinstance(data.get("images"), dict):
        raise UsageError(f'{path}: expected an object with "camera" and "images"')
    is_scene = "poses" in data
    if is_scene and data.get("camera") is None:
        camera = _stored_camera(path, data, stored_hw)
    else:
        camera = _camera(path, data.get("camera"))
    read = _read_neuraldiff if is_scene else _read_fields
    names, files, keys, w2c = read(path, data)
    points = _points(path, data.get("points"))
    notes = _defects(path, data, camera) if is_scene else ()
    fps = video_fps(path)
    return PoseFile(w2c, names, camera, files, keys, points, notes, fps)


Table = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], np.ndarray]


def video_fps(path: pathlib.Path | str) -> float | None:
    """Frames a second of the EPIC video that a file or its folder is named after.

    Videos PXX_1YY have 50, videos PXX_YY have 60; None if no such name is found.
    """
    path = pathlib.Path(path)
    for part in (path.stem, path.parent.name):
        found = re.search(r"P\d{2}_(\d{2,3})(?!\d)", part)
        if found:
            return 50.0 if len(found[1]) == 3 else 60.0
    return None


def frame_rate(name: pathlib.Path | str, frame_ids: Iterable[str]) -> float | None:
    """Frames a second of some frames of the video that `name` is, or is in.

    That of the video, over the usual step of the numbers in the frames' names.
    """
    rate = video_fps(name)
    numbers = [n for n in map(last_number, frame_ids) if n is not None]
    step = float(np.median(np.diff(numbers))) if len(numbers) > 1 else 1.0
    return rate / step if rate is not None and step > 0 else None


def _read_fields(path: pathlib.Path, data: Any) -> Table:
    """Names, files and keys of the frames, and their w2c."""
    problems: list[str] = []
    rows = _numbers(path, data["images"], (7,), problems)
    for name, row in rows.items():
        if not 0.99 < np.linalg.norm(row[:4]) < 1.01:
            problems.append(f"{path}: images.{name}: not a unit quaternion")
    order = sorted(rows, key=natural_key)
    frames = _frames(path, order, problems)
    if problems:
        raise UsageError.from_problems(problems)
    w2c = [
        colmap.pose(colmap.ColmapImage(1, tuple(rows[n][:4]), tuple(rows[n][4:])))
        for n in order
    ]
    return frames, tuple(order), tuple(order), np.array(w2c)


def _frames(
    path: pathlib.Path, names: Iterable[Any], problems: list[str]
) -> tuple[str, ...]:
    """The frames that files are named after; what is wrong goes to `problems`."""
    frames = []
    for name in names:
        try:
            frames.append(arrays.frame_name(name))
            if is_too_long(name):
                problems.append(f"{path}: images: {name!r:.80}: too long for a file")
        except ValueError as err:
            problems.append(f"{path}: images: {err}")
    twice = [n for n, count in collections.Counter(frames).items() if count > 1]
    problems += [f"{path}: images: {name} is there twice" for name in twice]
    return tuple(frames)


def is_too_long(name: str) -> bool:
    """Whether no file can have this name: to ask the disk for it is an error."""
    return max(len(os.fsencode(part)) for part in name.split("/")) > MAX_NAME


def write_poses(path: pathlib.Path | str, model: colmap.ColmapModel) -> None:
    """Writes a model as EPIC-FIELDS JSON.

    Raises:
      UsageError: it has several cameras; that format has one.
    """
    if len(model.cameras) != 1:
        raise UsageError(f"{path}: {len(model.cameras)} cameras; EPIC-FIELDS holds one")
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
        indent=None,
    )


def _read_neuraldiff(path: pathlib.Path, data: Any) -> Table:
    """As `_read_fields`."""
    problems: list[str] = []
    given = data["poses"]
    if not isinstance(given, dict):
        raise UsageError(f"{path}: poses: expected an object by frame")
    rows = _numbers(path, given, (3, 4), problems)
    keys = sorted(rows, key=natural_key)
    named = [key for key in keys if key in data["images"]]
    if len(named) < len(keys):
        unnamed = [key for key in keys if key not in data["images"]]
        problems += [f"{path}: images: no {k}, which has a pose" for k in unnamed]
    files = [data["images"][key] for key in named]
    frames = _frames(path, files, problems)
    c2w = np.tile(np.eye(4), (len(keys), 1, 1))
    c2w[:, :3] = np.array([rows[key] for key in keys]).reshape(-1, 3, 4)
    for n in np.flatnonzero(~poses.is_rigid(c2w)):
        problems.append(f"{path}: poses.{keys[n]}: not a rotation and a translation")
    if problems:
        raise UsageError.from_problems(problems)
    w2c = np.linalg.inv(camera_ops.c2w_from_opengl(c2w))
    return frames, tuple(files), tuple(keys), w2c


def _defects(path: pathlib.Path, data: Any, camera: Camera) -> tuple[str, ...]:
    """A note where the file's own intrinsics are not those of its camera."""
    found = values.numbers(data.get("intrinsics"), (3, 3))
    wanted = np.asarray(camera.intrinsics)
    if found is None:
        return (f"{path}: no readable intrinsics; those of its camera are used",)
    # Widths and heights of stored images are whole: each has a scale of its own.
    focal = np.diagonal(found)[:2]
    if (focal > 0).all():
        scale = np.diagonal(wanted)[:2] / focal
        close = np.allclose(found[:2] * scale[:, None], wanted[:2], rtol=1e-3)
        if close and np.isclose(*scale, rtol=ASPECT):
            return ()
    height, width = camera.size_hw
    size = " x ".join(f"{data.get(key)}" for key in ("image_w", "image_h"))
    return (
        f"{path}: intrinsics with centre ({found[0, 2]:.6g}, {found[1, 2]:.6g}) and "
        f"image size {size}: a defect of the converter, which reads the parameters of "
        f"every camera as f, cx, cy; its camera is used, with centre "
        f"({wanted[0, 2]:.6g}, {wanted[1, 2]:.6g}) and {width} x {height} pixels",
    )


def _stored_camera(
    path: pathlib.Path, data: Any, stored_hw: tuple[int, int] | None
) -> Camera:
    """The camera of the stored images, by the intrinsics of a scene without another."""
    height, width = data.get("image_h"), data.get("image_w")
    size_hw = stored_hw
    if size_hw is None and _is_size(height) and _is_size(width):
        size_hw = (int(height), int(width))
    k = values.numbers(data.get("intrinsics"), (3, 3))
    problems = []
    if size_hw is None:
        problems.append(
            f"{path}: no camera, no images, and no image_w and image_h in pixels: "
            "nothing says the size of images"
        )
    if k is None or min(k[0, 0], k[1, 1]) <= 0 or k[2].tolist() != [0, 0, 1]:
        problems.append(
            f"{path}: no camera, and intrinsics are not "
            "[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
        )
    elif size_hw and not (0 < k[0, 2] < size_hw[1] and 0 < k[1, 2] < size_hw[0]):
        problems.append(
            f"{path}: no camera, and intrinsics with centre ({k[0, 2]:.6g}, "
            f"{k[1, 2]:.6g}) for images of {size_hw[1]} x {size_hw[0]}"
        )
    if problems or k is None or size_hw is None:
        raise UsageError.from_problems(problems)
    return Camera(k, np.eye(4), size_hw=size_hw)


def _is_size(given: Any) -> bool:
    """Whether this is a whole number of pixels; converters also write fractions."""
    whole = values.is_number(given) and float(given).is_integer()
    return whole and 1 <= given <= colmap.MAX_SIDE


def _camera(path: pathlib.Path, given: Any) -> Camera:
    try:
        size_hw = (int(given["height"]), int(given["width"]))
        params = np.asarray(given["params"], np.float64)
        camera = camera_ops.camera_from_colmap(given["model"], params, size_hw)
    except (KeyError, TypeError, ValueError, OverflowError) as err:
        raise UsageError(
            f"{path}: camera: expected model, width, height, params ({err})"
        ) from None
    sized = 1 <= min(size_hw) <= max(size_hw) <= colmap.MAX_SIDE
    if not sized or not np.isfinite(params).all() or params[0] <= 0:
        raise UsageError(f"{path}: camera: a size or a parameter out of range")
    return camera


def _numbers(
    path: pathlib.Path, given: dict, shape: tuple[int, ...], problems: list[str]
) -> dict[str, np.ndarray]:
    """The entries as arrays; those that are none are told."""
    out = {}
    for name, value in given.items():
        found = values.numbers(value, shape)
        if found is not None:
            out[name] = found
        else:
            problems.append(f"{path}: {name}: {values.expected_numbers(shape)}")
    if not given:
        problems.append(f"{path}: no frame has a pose")
    return out


def _points(path: pathlib.Path, given: Any) -> np.ndarray | None:
    if not given:
        return None
    try:
        points = np.asarray(given, np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.zeros((0, 0))
    if points.ndim != 2 or points.shape[1] < 3 or not np.isfinite(points).all():
        raise UsageError(f"{path}: points: expected rows of x, y, z, r, g, b")
    return points[:, :3]
