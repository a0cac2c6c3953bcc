"""COLMAP's sparse models, text and binary: cameras, images, points.

Quaternions are (w, x, y, z) and world to camera, as the files have them. The 2D points
of images and the tracks of points are skipped when reading and written empty: binary
files are mapped, so that a model of a long video costs no memory for them.
"""

import contextlib
import dataclasses
import math
import mmap
import os
import pathlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from egojax.data import arrays
from egojax.data.csv_tables import raise_all
from egojax.errors import UsageError
from egojax.ops import camera as camera_ops
from egojax.ops.lens import LENSES
from egojax.types import Camera, Clip

# COLMAP's numbers of its camera models are their places here.
MODELS = (
    *("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"),
    *("OPENCV_FISHEYE", "FULL_OPENCV", "FOV", "SIMPLE_RADIAL_FISHEYE"),
    *("RADIAL_FISHEYE", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE"),
    *("SIMPLE_DIVISION", "DIVISION", "SIMPLE_FISHEYE", "FISHEYE", "EUCM"),
)
MAX_SIDE = 1 << 16  # Pixels; a larger image is a damaged file.


@dataclasses.dataclass(frozen=True)
class ColmapCamera:
    """One camera as COLMAP describes it."""

    model: str
    size_hw: tuple[int, int]
    params: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class ColmapImage:
    """One registered image."""

    camera_id: int
    quaternion: tuple[float, ...]  # (w, x, y, z), world to camera.
    translation: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class ColmapModel:
    """A sparse model."""

    cameras: Mapping[int, ColmapCamera]
    images: Mapping[str, ColmapImage]  # By name, in order of name.
    points: np.ndarray  # float64 (P, 3), world units.
    colors: np.ndarray  # uint8 (P, 3)
    errors: np.ndarray | None = None  # float64 (P,), of re-projection, in pixels.


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
    readers = BINARY if binary else TEXT
    paths = [folder / f"{n}{suffix}" for n in ("cameras", "images", "points3D")]
    cameras = _read(paths[0], readers[0])
    rows = _read(paths[1], readers[1])
    found = _read(paths[2], readers[2]) if os.path.lexists(paths[2]) else []
    table = np.array(found, np.float64).reshape(-1, 7)
    raise_all(folder, _check(paths, cameras, rows, table[:, :3]))
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
    if binary:
        arrays.write_bytes(folder / "cameras.bin", _pack_cameras(model))
        arrays.write_bytes(folder / "images.bin", _pack_images(model))
        arrays.write_bytes(folder / "points3D.bin", _pack_points(model))
        return
    cameras = [
        (key, c.model, c.size_hw[1], c.size_hw[0], *c.params)
        for key, c in model.cameras.items()
    ]
    images = [
        (n, *i.quaternion, *i.translation, i.camera_id, f"{name}\n")
        for n, (name, i) in enumerate(model.images.items(), 1)
    ]
    points = [(n, *xyz, *rgb, e) for n, (xyz, rgb, e) in enumerate(_points(model), 1)]
    for name, table in (("cameras", cameras), ("images", images), ("points3D", points)):
        lines = [" ".join(map(str, row)) for row in table]
        arrays.write_text(folder / f"{name}.txt", "\n".join(lines) + "\n")


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


def _points(model: ColmapModel) -> Iterator[tuple[list[float], list[int], float]]:
    errors = np.zeros(len(model.points)) if model.errors is None else model.errors
    columns = (model.points.tolist(), model.colors.tolist(), errors.tolist())
    return zip(*columns, strict=True)


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


class _BadLines(ValueError):
    """What is wrong with a text file, a line for each of its lines."""


def _read(path: pathlib.Path, parse: Callable[[Any], list]) -> list:
    try:
        with _mapped(path) as data:
            return parse(data)
    except UnicodeDecodeError:
        raise UsageError(f"{path}: text that is not UTF-8") from None
    except _BadLines as err:
        raise_all(path, [f"{path}:{line}" for line in err.args])
        raise
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


# -------------------------------------------------------------------------- binary


class _Bytes:
    """Takes values off the front; `struct.error` where there are too few."""

    def __init__(self, data: Any):
        self._data, self._at = data, 0

    def take(self, form: str) -> tuple:
        values = struct.unpack_from("<" + form, self._data, self._at)
        self._at += struct.calcsize("<" + form)
        return values

    def count(self, least: int) -> int:
        """A number of rows, each of `least` bytes or more."""
        (count,) = self.take("Q")
        if count * least > len(self._data) - self._at:
            raise ValueError(f"announces {count} rows, more than the file holds")
        return count

    def skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._data):
            raise ValueError("ends within a row")

    def name(self) -> str:
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise ValueError("ends within a name")
        text = self._data[self._at : end].decode()
        self._at = end + 1
        return text


def _binary_cameras(data: Any) -> list[tuple[int, ColmapCamera]]:
    file, out = _Bytes(data), []
    for _ in range(file.count(48)):
        key, number, width, height = file.take("iiQQ")
        if not 0 <= number < len(MODELS):
            raise ValueError(f"camera {key}: unknown model {number}")
        params = file.take(f"{_num_params(MODELS[number])}d")
        out.append((key, ColmapCamera(MODELS[number], (height, width), params)))
    return out


def _num_params(model: str) -> int:
    _, num_focal, coefficients = camera_ops.COLMAP_MODELS[model]
    return num_focal + 2 + len(coefficients)


def _binary_images(data: Any) -> list[tuple[str, ColmapImage]]:
    file, out = _Bytes(data), []
    for _ in range(file.count(73)):
        values = file.take("i7di")
        name = file.name()
        file.skip(24 * file.count(24))
        out.append((name, ColmapImage(values[8], values[1:5], values[5:8])))
    return out


def _binary_points(data: Any) -> list[tuple]:
    """Rows of x, y, z, r, g, b, error."""
    file, out = _Bytes(data), []
    for _ in range(file.count(51)):
        out.append(file.take("Q3d3Bd")[1:])
        file.skip(8 * file.count(8))
    return out


def _pack_cameras(model: ColmapModel) -> bytes:
    out = struct.pack("<Q", len(model.cameras))
    for key, c in model.cameras.items():
        height, width = c.size_hw
        out += struct.pack("<iiQQ", key, MODELS.index(c.model), width, height)
        out += struct.pack(f"<{len(c.params)}d", *c.params)
    return out


def _pack_images(model: ColmapModel) -> bytes:
    rows = [
        struct.pack("<i7di", n, *i.quaternion, *i.translation, i.camera_id)
        + name.encode()
        + struct.pack("<xQ", 0)
        for n, (name, i) in enumerate(model.images.items(), 1)
    ]
    return struct.pack("<Q", len(rows)) + b"".join(rows)


def _pack_points(model: ColmapModel) -> bytes:
    rows = [
        struct.pack("<Q3d3BdQ", n, *xyz, *rgb, error, 0)
        for n, (xyz, rgb, error) in enumerate(_points(model), 1)
    ]
    return struct.pack("<Q", len(rows)) + b"".join(rows)


# ---------------------------------------------------------------------------- text


def _lines(data: Any) -> list[tuple[int, str]]:
    """The lines of a file that are no comments, with their numbers."""
    lines = enumerate(bytes(data).decode().splitlines(), 1)
    return [(n, line) for n, line in lines if not line.startswith("#")]


def _parse(lines: Sequence[tuple[int, str]], parse: Callable[[str], Any]) -> list:
    """What `parse` makes of each line that is not empty."""
    out, problems = [], []
    for n, line in lines:
        if not line.strip():
            continue
        try:
            out.append(parse(line))
        except (ValueError, IndexError) as err:
            problems.append(f"{n}: {err}")
    if problems:
        raise _BadLines(*problems)
    return out


def _text_cameras(data: Any) -> list[tuple[int, ColmapCamera]]:
    return _parse(_lines(data), _text_camera)


def _text_camera(line: str) -> tuple[int, ColmapCamera]:
    key, name, width, height, *params = line.split()
    if name not in MODELS:
        raise ValueError(f"camera {key}: unknown model {name}")
    if len(params) != _num_params(name):
        raise ValueError(f"camera {key}: {len(params)} parameters of {name}")
    size_hw = (int(height), int(width))
    return int(key), ColmapCamera(name, size_hw, tuple(map(float, params)))


def _text_images(data: Any) -> list[tuple[str, ColmapImage]]:
    # Each second line is the image's 2D points.
    return _parse(_lines(data)[::2], _text_image)


def _text_image(line: str) -> tuple[str, ColmapImage]:
    words = line.split(maxsplit=9)
    if len(words) != 10:
        raise ValueError(f"{len(words)} words; expected id, pose, camera, name")
    values = tuple(map(float, words[1:8]))
    return words[9].strip(), ColmapImage(int(words[8]), values[:4], values[4:])


def _text_points(data: Any) -> list[tuple]:
    return _parse(_lines(data), _text_point)


def _text_point(line: str) -> tuple:
    words = line.split()
    color = tuple(map(int, words[4:7]))
    if len(color) != 3 or not 0 <= min(color) <= max(color) <= 255:
        raise ValueError(f"point {words[0]}: expected 3 numbers and 3 colours")
    return (*map(float, words[1:4]), *color, float(words[7]))


BINARY = (_binary_cameras, _binary_images, _binary_points)
TEXT = (_text_cameras, _text_images, _text_points)
