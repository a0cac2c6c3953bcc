"""COLMAP's sparse models, text and binary: cameras, images, points.

Quaternions are (w, x, y, z) and world to camera, as the files have them. The 2D points
of images and the tracks of points are skipped when reading and written empty.
"""

import dataclasses
import math
import pathlib
import struct
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from egojax.data import arrays
from egojax.data.csv_tables import raise_all
from egojax.errors import UsageError
from egojax.ops import camera as camera_ops
from egojax.types import Camera, Clip

MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
}
NUMBERS = {name: number for number, (name, _) in MODELS.items()}


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
    points, colors = np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    if paths[2].is_file():
        found = _read(paths[2], readers[2])
        points = np.array([p for p, _ in found], np.float64).reshape(-1, 3)
        colors = np.array([c for _, c in found]).reshape(-1, 3).astype(np.uint8)
    problems = _check(paths, cameras, rows, points)
    raise_all(folder, problems)
    return ColmapModel(dict(cameras), dict(sorted(rows)), points, colors)


def cameras_by_name(model: ColmapModel) -> dict[str, Camera]:
    """Cameras by name of image.

    Raises:
      UsageError: a camera model that egojax does not know.
    """
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
    rows = zip(model.points.tolist(), model.colors.tolist(), strict=True)
    points = [(n, *xyz, *rgb, 0.0) for n, (xyz, rgb) in enumerate(rows, 1)]
    for name, table in (("cameras", cameras), ("images", images), ("points3D", points)):
        lines = [" ".join(map(str, row)) for row in table]
        arrays.write_text(folder / f"{name}.txt", "\n".join(lines) + "\n")


def from_clip(clip: Clip) -> ColmapModel:
    """The model of a clip whose cameras share one lens, as one OPENCV camera.

    Raises:
      UsageError: no pose, or a lens other than "pinhole" and "opencv".
    """
    from scipy.spatial.transform import Rotation

    rows = list(clip.camera) if clip.camera is not None else []
    known = {n: c for n, c in zip(clip.frame_ids, rows, strict=True) if c is not None}
    first = next(iter(known.values()), None)
    if first is None or first.lens not in ("pinhole", "opencv"):
        raise UsageError(f"{clip.name}: no poses with a pinhole or opencv lens")
    k = np.asarray(first.intrinsics, np.float64)
    lens = np.zeros(4) if first.distortion is None else np.asarray(first.distortion)
    params = (k[0, 0], k[1, 1], k[0, 2], k[1, 2], *lens.tolist())
    images = {}
    for name, camera in known.items():
        w2c = np.asarray(camera.w2c, np.float64)
        turn = np.roll(Rotation.from_matrix(w2c[:3, :3]).as_quat(), 1).tolist()
        shift = tuple(w2c[:3, 3].tolist())
        images[f"{name}.jpg"] = ColmapImage(1, tuple(turn), shift)
    points = np.zeros((0, 3)) if clip.points is None else clip.points
    colors = np.full((len(points), 3), 128, np.uint8)
    camera = ColmapCamera("OPENCV", clip.size_hw, tuple(map(float, params)))
    return ColmapModel({1: camera}, images, points, colors)


def _camera(model: ColmapModel, image: ColmapImage) -> Camera:
    found = model.cameras[image.camera_id]
    try:
        return camera_ops.camera_from_colmap(
            found.model, found.params, found.size_hw, pose(image)
        )
    except ValueError as err:
        raise UsageError(f"camera {image.camera_id}: {err}") from None


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
        if min(camera.size_hw) < 1:
            problems.append(f"{paths[0]}: camera {key}: no pixels")
    if not rows:
        problems.append(f"{paths[1]}: no registered image")
    seen: set[str] = set()
    for name, image in rows:
        if name in seen:
            problems.append(f"{paths[1]}: {name} is there twice")
        seen.add(name)
        if image.camera_id not in known:
            problems.append(f"{paths[1]}: {name}: no camera {image.camera_id}")
        length = math.sqrt(sum(q * q for q in image.quaternion))
        moved = np.isfinite(image.translation).all()
        if not moved or not 0.99 < length < 1.01:
            problems.append(f"{paths[1]}: {name}: not a unit quaternion and a place")
    if not np.isfinite(points).all():
        problems.append(f"{paths[2]}: points that are not finite")
    return problems


def _read(path: pathlib.Path, parse: Callable[[bytes], list]) -> list:
    try:
        return parse(path.read_bytes())
    except OSError as err:
        raise UsageError(f"{path}: cannot be read: {err.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: text that is not UTF-8") from None
    except (struct.error, ValueError, IndexError) as err:
        raise UsageError(f"{path}: truncated or malformed ({err})") from None


# -------------------------------------------------------------------------- binary


class _Bytes:
    """Takes values off the front; `struct.error` where there are too few."""

    def __init__(self, data: bytes):
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
        end = self._data.index(b"\0", self._at)
        text = self._data[self._at : end].decode()
        self._at = end + 1
        return text


def _binary_cameras(data: bytes) -> list[tuple[int, ColmapCamera]]:
    file, out = _Bytes(data), []
    for _ in range(file.count(48)):
        key, number, width, height = file.take("iiQQ")
        if number not in MODELS:
            raise ValueError(f"camera {key}: unknown model {number}")
        name, count = MODELS[number]
        out.append((key, ColmapCamera(name, (height, width), file.take(f"{count}d"))))
    return out


def _binary_images(data: bytes) -> list[tuple[str, ColmapImage]]:
    file, out = _Bytes(data), []
    for _ in range(file.count(73)):
        values = file.take("i7di")
        name = file.name()
        file.skip(24 * file.count(24))
        out.append((name, ColmapImage(values[8], values[1:5], values[5:8])))
    return out


def _binary_points(data: bytes) -> list[tuple[tuple, tuple]]:
    file, out = _Bytes(data), []
    for _ in range(file.count(51)):
        values = file.take("Q3d3Bd")
        file.skip(8 * file.count(8))
        out.append((values[1:4], values[4:7]))
    return out


def _pack_cameras(model: ColmapModel) -> bytes:
    out = struct.pack("<Q", len(model.cameras))
    for key, c in model.cameras.items():
        height, width = c.size_hw
        out += struct.pack("<iiQQ", key, NUMBERS[c.model], width, height)
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
        struct.pack("<Q3d3BdQ", n, *xyz, *rgb, 0.0, 0)
        for n, (xyz, rgb) in enumerate(zip(model.points, model.colors, strict=True), 1)
    ]
    return struct.pack("<Q", len(rows)) + b"".join(rows)


# ---------------------------------------------------------------------------- text


def _lines(data: bytes) -> list[str]:
    return [line for line in data.decode().splitlines() if not line.startswith("#")]


def _text_cameras(data: bytes) -> list[tuple[int, ColmapCamera]]:
    out = []
    for line in filter(str.strip, _lines(data)):
        key, name, width, height, *params = line.split()
        if name not in NUMBERS:
            raise ValueError(f"camera {key}: unknown model {name}")
        if len(params) != MODELS[NUMBERS[name]][1]:
            raise ValueError(f"camera {key}: {len(params)} parameters of {name}")
        size_hw = (int(height), int(width))
        out.append((int(key), ColmapCamera(name, size_hw, tuple(map(float, params)))))
    return out


def _text_images(data: bytes) -> list[tuple[str, ColmapImage]]:
    out = []
    for line in _lines(data)[::2]:  # Each second line is the image's 2D points.
        if not line.strip():
            continue
        _, *pose_words, camera_id, name = line.split(maxsplit=9)
        values = tuple(map(float, pose_words))
        if len(values) != 7:
            raise ValueError(f"{name}: {len(values)} numbers of a pose")
        image = ColmapImage(int(camera_id), values[:4], values[4:])
        out.append((name.strip(), image))
    return out


def _text_points(data: bytes) -> list[tuple[tuple, tuple]]:
    out = []
    for line in filter(str.strip, _lines(data)):
        words = line.split()
        color = tuple(map(int, words[4:7]))
        if len(color) != 3 or not 0 <= min(color) <= max(color) <= 255:
            raise ValueError(f"point {words[0]}: expected 3 numbers and 3 colours")
        out.append((tuple(map(float, words[1:4])), color))
    return out


BINARY = (_binary_cameras, _binary_images, _binary_points)
TEXT = (_text_cameras, _text_images, _text_points)
