"""The files of COLMAP's sparse models, binary and text: bytes to records and back.

Quaternions are (w, x, y, z) and world to camera, as the files have them. The 2D points
of images and the tracks of points are skipped when reading and written empty.
"""

import dataclasses
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from egojax.ops.camera import COLMAP_MODELS

# COLMAP's numbers of its camera models are their places here.
MODELS = (
    *("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"),
    *("OPENCV_FISHEYE", "FULL_OPENCV", "FOV", "SIMPLE_RADIAL_FISHEYE"),
    *("RADIAL_FISHEYE", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE"),
    *("SIMPLE_DIVISION", "DIVISION", "SIMPLE_FISHEYE", "FISHEYE", "EUCM"),
)
Row = tuple[Any, ...]
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


class BadLines(ValueError):
    """What is wrong with a text file: NUMBER: WHAT, a line for each of its lines."""


def parse(kind: str, binary: bool, data: Any) -> list:
    """Parses the bytes of one file.

    Args:
      kind: "cameras" (id, `ColmapCamera`), "images" (name, `ColmapImage`) or "points3D"
        (x, y, z, r, g, b, error).
      data: Bytes, or a mapped file.

    Raises:
      BadLines, ValueError, struct.error: truncated or malformed.
    """
    return (BINARY if binary else TEXT)[kind](data)


def pack(kind: str, binary: bool, model: ColmapModel) -> bytes:
    """The bytes of one of a model's files; `kind` as in `parse`."""
    return PACK[kind](model) if binary else _text(kind, model)


def num_params(model: str) -> int:
    """How many parameters a camera model has."""
    _, num_focal, coefficients = COLMAP_MODELS[model]
    return num_focal + 2 + len(coefficients)


def _points(model: ColmapModel) -> Iterator[Row]:
    """Number, x, y, z, r, g, b, error of each point."""
    errors = np.zeros(len(model.points)) if model.errors is None else model.errors
    columns = (model.points.tolist(), model.colors.tolist(), errors.tolist())
    for n, (xyz, rgb, error) in enumerate(zip(*columns, strict=True), 1):
        yield n, *xyz, *rgb, error


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
        params = file.take(f"{num_params(MODELS[number])}d")
        out.append((key, ColmapCamera(MODELS[number], (height, width), params)))
    return out


def _binary_images(data: Any) -> list[tuple[str, ColmapImage]]:
    file, out = _Bytes(data), []
    for _ in range(file.count(73)):
        values = file.take("i7di")
        name = file.name()
        file.skip(24 * file.count(24))
        out.append((name, ColmapImage(values[8], values[1:5], values[5:8])))
    return out


def _binary_points(data: Any) -> list[Row]:
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
    rows = [struct.pack("<Q3d3BdQ", *row, 0) for row in _points(model)]
    return struct.pack("<Q", len(rows)) + b"".join(rows)


# ---------------------------------------------------------------------------- text


def _lines(data: Any) -> list[tuple[int, str]]:
    """The lines of a file that are no comments, with their numbers."""
    lines = enumerate(bytes(data).decode().splitlines(), 1)
    return [(n, line) for n, line in lines if not line.startswith("#")]


def _each(lines: Sequence[tuple[int, str]], read: Callable[[str], Any]) -> list:
    """What `read` makes of each line that is not empty."""
    out, problems = [], []
    for n, line in lines:
        if not line.strip():
            continue
        try:
            out.append(read(line))
        except (ValueError, IndexError) as err:
            problems.append(f"{n}: {err}")
    if problems:
        raise BadLines(*problems)
    return out


def _text_cameras(data: Any) -> list[tuple[int, ColmapCamera]]:
    return _each(_lines(data), _text_camera)


def _text_camera(line: str) -> tuple[int, ColmapCamera]:
    key, name, width, height, *params = line.split()
    if name not in MODELS:
        raise ValueError(f"camera {key}: unknown model {name}")
    if len(params) != num_params(name):
        raise ValueError(f"camera {key}: {len(params)} parameters of {name}")
    size_hw = (int(height), int(width))
    return int(key), ColmapCamera(name, size_hw, tuple(map(float, params)))


def _text_images(data: Any) -> list[tuple[str, ColmapImage]]:
    # Each second line is the image's 2D points.
    return _each(_lines(data)[::2], _text_image)


def _text_image(line: str) -> tuple[str, ColmapImage]:
    words = line.split(maxsplit=9)
    if len(words) != 10:
        raise ValueError(f"{len(words)} words; expected id, pose, camera, name")
    values = tuple(map(float, words[1:8]))
    return words[9].strip(), ColmapImage(int(words[8]), values[:4], values[4:])


def _text_points(data: Any) -> list[Row]:
    return _each(_lines(data), _text_point)


def _text_point(line: str) -> Row:
    words = line.split()
    color = tuple(map(int, words[4:7]))
    if len(color) != 3 or not 0 <= min(color) <= max(color) <= 255:
        raise ValueError(f"point {words[0]}: expected 3 numbers and 3 colours")
    return (*map(float, words[1:4]), *color, float(words[7]))


def _text(kind: str, model: ColmapModel) -> bytes:
    rows: Iterable[Row] = _points(model)
    if kind == "cameras":
        rows = [
            (key, c.model, c.size_hw[1], c.size_hw[0], *c.params)
            for key, c in model.cameras.items()
        ]
    elif kind == "images":  # Each with an empty line of 2D points.
        rows = [
            (n, *i.quaternion, *i.translation, i.camera_id, f"{name}\n")
            for n, (name, i) in enumerate(model.images.items(), 1)
        ]
    lines = [" ".join(map(str, row)) for row in rows]
    return ("\n".join(lines) + "\n").encode()


BINARY = {
    "cameras": _binary_cameras,
    "images": _binary_images,
    "points3D": _binary_points,
}
TEXT = {"cameras": _text_cameras, "images": _text_images, "points3D": _text_points}
PACK = {"cameras": _pack_cameras, "images": _pack_images, "points3D": _pack_points}
