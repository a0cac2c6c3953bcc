"""COLMAP's sparse models: cameras, poses and points, of a folder or of a clip.

Binary files are mapped, so that the 2D points in the model of a long video, which are
skipped, cost no memory.
"""

import contextlib
import math
import mmap
import os
import pathlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from egojax.data import arrays, colmap_format
from egojax.data.colmap_format import MAX_SIDE as MAX_SIDE
from egojax.data.colmap_format import ColmapCamera as ColmapCamera
from egojax.data.colmap_format import ColmapImage as ColmapImage
from egojax.data.colmap_format import ColmapModel as ColmapModel
from egojax.errors import UsageError
from egojax.ops import camera as camera_ops
from egojax.ops.lens import LENSES
from egojax.types import Camera, Clip

KINDS = ("cameras", "images", "points3D")


def read_model(folder: pathlib.Path | str) -> ColmapModel:
    """Reads cameras, images and points3D, `.bin` if there, else `.txt`.

    Other files of the folder are ignored; without points3D there are no points.

    Raises:
      UsageError: missing, truncated, or malformed; a line for each problem.
    """
    folder = pathlib.Path(folder)
    binary = (folder / "images.bin").is_file()
    if not binary and not (folder / "images.txt").is_file():
        raise UsageError(
            f"{folder}: no COLMAP model; expected images.bin or images.txt"
        )
    suffix = ".bin" if binary else ".txt"
    paths = [folder / f"{kind}{suffix}" for kind in KINDS]
    cameras = _read(paths[0], binary)
    rows = _read(paths[1], binary)
    found = _read(paths[2], binary) if os.path.lexists(paths[2]) else []
    table = np.array(found, np.float64).reshape(-1, 7)
    problems = _check(paths, cameras, rows, table[:, :3])
    if problems:
        raise UsageError.from_problems(problems)
    return ColmapModel(
        cameras=dict(cameras),
        images=dict(sorted(rows)),
        points=table[:, :3],
        colors=table[:, 3:6].astype(np.uint8),
        errors=table[:, 6],
    )


def cameras_by_name(model: ColmapModel) -> dict[str, Camera]:
    """Cameras by name of image."""
    return {name: _camera(model, image) for name, image in model.images.items()}


def write_model(
    folder: pathlib.Path | str, model: ColmapModel, binary: bool = True
) -> None:
    """Writes the three files."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        path = folder / f"{kind}{'.bin' if binary else '.txt'}"
        arrays.write_bytes(path, colmap_format.pack(kind, binary, model))


def from_clip(clip: Clip) -> ColmapModel:
    """The model of a clip; frames become FRAME.jpg.

    Raises:
      UsageError: no frame has a pose, or a camera that no COLMAP model describes.
    """
    from scipy.spatial.transform import Rotation

    cameras: dict[ColmapCamera, int] = {}
    images = {}
    for name, camera in zip(clip.frame_ids, clip.camera or (), strict=False):
        if camera is None:
            continue
        try:
            lens = camera_from(camera)
        except ValueError as err:
            raise UsageError(f"{clip.name}: frame {name}: {err}") from None
        w2c = np.asarray(camera.w2c, np.float64)
        turn = np.roll(Rotation.from_matrix(w2c[:3, :3]).as_quat(), 1).tolist()
        number = cameras.setdefault(lens, len(cameras) + 1)
        shift = tuple(w2c[:3, 3].tolist())
        images[f"{name}.jpg"] = ColmapImage(number, tuple(turn), shift)
    if not images:
        raise UsageError(f"{clip.name}: no frame has a pose")
    points = np.zeros((0, 3)) if clip.points is None else clip.points
    colors = np.full((len(points), 3), 128, np.uint8)
    by_number = {number: camera for camera, number in cameras.items()}
    return ColmapModel(by_number, images, points, colors)


def camera_from(camera: Camera) -> ColmapCamera:
    """The smallest COLMAP model with two focal lengths, from OPENCV on, that fits.

    Raises:
      ValueError: no model has these coefficients, or the pixels are skewed.
    """
    k = np.asarray(camera.intrinsics, np.float64)
    lens = "opencv" if camera.lens == "pinhole" else camera.lens
    given = () if camera.distortion is None else np.asarray(camera.distortion, float)
    known = dict(zip(LENSES[camera.lens], map(float, given), strict=True))
    for model, (name, num_focal, order) in camera_ops.COLMAP_MODELS.items():
        rest = [value for key, value in known.items() if key not in order]
        if name == lens and num_focal == 2 and not any(rest) and k[0, 1] == 0:
            params = (k[0, 0], k[1, 1], k[0, 2], k[1, 2])
            values = (*map(float, params), *(known.get(key, 0.0) for key in order))
            return ColmapCamera(model, camera.size_hw, values)
    raise ValueError(f"COLMAP has no camera for the lens {camera.lens} of {k.tolist()}")


def _camera(model: ColmapModel, image: ColmapImage) -> Camera:
    found = model.cameras[image.camera_id]
    return camera_ops.camera_from_colmap(
        found.model, found.params, found.size_hw, pose(image)
    )


def pose(image: ColmapImage) -> np.ndarray:
    """World to camera, float64 (4, 4)."""
    from scipy.spatial.transform import Rotation

    out = np.eye(4)
    turn = Rotation.from_quat(np.roll(np.asarray(image.quaternion, np.float64), -1))
    out[:3, :3], out[:3, 3] = turn.as_matrix(), image.translation
    return out


# -------------------------------------------------------------------------- checks


def _check(
    paths: Sequence[pathlib.Path],
    cameras: list[tuple[int, ColmapCamera]],
    rows: list[tuple[str, ColmapImage]],
    points: np.ndarray,
) -> list[str]:
    problems = []
    known = dict(cameras)
    if len(known) < len(cameras):
        problems.append(f"{paths[0]}: a camera id is there twice")
    for key, camera in cameras:
        if not np.isfinite(camera.params).all() or camera.params[0] <= 0:
            problems.append(f"{paths[0]}: camera {key}: parameters {camera.params}")
        height, width = camera.size_hw
        if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
            problems.append(f"{paths[0]}: camera {key}: {width} x {height} pixels")
    if not rows:
        problems.append(f"{paths[1]}: no registered image")
    seen: set[str] = set()
    for name, image in rows:
        try:
            frame = arrays.frame_name(name)
        except ValueError as err:
            problems.append(f"{paths[1]}: {err}")
            continue
        if frame in seen:
            problems.append(f"{paths[1]}: two images are named {frame}")
        seen.add(frame)
        if image.camera_id not in known:
            problems.append(f"{paths[1]}: {name}: no camera {image.camera_id}")
        length = math.sqrt(sum(q * q for q in image.quaternion))
        moved = np.isfinite(image.translation).all()
        if not moved or not 0.99 < length < 1.01:
            problems.append(f"{paths[1]}: {name}: not a unit quaternion and a place")
    if not np.isfinite(points).all():
        problems.append(f"{paths[2]}: points that are not finite")
    return problems


def _read(path: pathlib.Path, binary: bool) -> list:
    try:
        with _mapped(path) as data:
            return colmap_format.parse(path.stem, binary, data)
    except UnicodeDecodeError:
        raise UsageError(f"{path}: text that is not UTF-8") from None
    except colmap_format.BadLines as err:
        raise UsageError.from_problems(f"{path}:{line}" for line in err.args) from None
    except (struct.error, ValueError) as err:
        raise UsageError(f"{path}: truncated or malformed ({err})") from None


@contextlib.contextmanager
def _mapped(path: pathlib.Path) -> Iterator[Any]:
    """The bytes of a file, in memory only where they are looked at."""
    with arrays.open_file(path) as file:
        if not path.stat().st_size:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
