"""Images, label maps and depth maps: single files and folders of them.

Images are uint8 RGB (H, W, 3). Label maps are int32 (H, W), 0 for background, from PNG
(8 or 16 bit, or a palette, whose indices count) or npy. Depth is float32 (H, W), camera
z, from 16-bit PNG (millimetres), npy or npz; 0 and NaN say "unknown" and become +inf,
as where nothing is. Readers of one frame raise `FrameError`, so that a run goes on
without it; a folder that cannot be used at all raises `UsageError`.
"""

import collections
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from egojax.data import arrays
from egojax.errors import FrameError, UsageError
from egojax.types import Source

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
LABELS = (".png", ".npy")
DEPTHS = (".png", ".npy", ".npz")

# Far above any camera; a header that asks for more is broken or hostile.
MAX_PIXELS = 64_000_000
BAD_IMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    UnidentifiedImageError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


# ------------------------------------------------------------------- single frames


def read_image(
    path: pathlib.Path, size_hw: tuple[int, int] | None = None
) -> np.ndarray:
    """Reads an image, turned upright as its EXIF tag says. Of 16 bit the high 8 count.

    Raises:
      FrameError: missing, truncated, no image, of 32-bit values, or not of the size
        `size_hw`.
    """
    with _open(path) as image:
        upright = _decode(path, lambda: ImageOps.exif_transpose(image))
        if image.mode.startswith("I;16"):  # Gray; Pillow would cut it off at 255.
            high = _decode(path, lambda: np.asarray(upright, np.uint16) >> 8)
            return _sized(path, np.stack([high.astype(np.uint8)] * 3, -1), size_hw)
        if image.mode in ("I", "F"):
            raise FrameError(f"{path}: 32-bit values; expected 8 or 16 bit a channel")
        colours = _decode(path, lambda: np.asarray(upright.convert("RGB")))
    return _sized(path, colours, size_hw)


def read_labels(
    path: pathlib.Path, size_hw: tuple[int, int] | None = None
) -> np.ndarray:
    """Reads a label map. A palette image gives its indices, not its colours.

    Raises:
      FrameError: unreadable, several channels, not integers, negative, above 2^31 - 1,
        or not of the size `size_hw`.
    """
    labels = _read_map(path)
    if labels.dtype.kind not in "biu":
        raise FrameError(f"{path}: {labels.dtype} values; labels must be integers")
    if labels.size and labels.min() < 0:
        raise FrameError(f"{path}: label {labels.min()}; labels start at 0, background")
    if labels.size and labels.max() > np.iinfo(np.int32).max:
        raise FrameError(f"{path}: label {labels.max()} is above 2^31 - 1")
    return _sized(path, labels.astype(np.int32), size_hw)


def read_foreground(
    path: pathlib.Path, size_hw: tuple[int, int] | None = None
) -> np.ndarray:
    """Reads an annotation as 1 where it has any object and 0 elsewhere, int32.

    Of gray values up to 255 the upper half counts, since JPEG and resizing leave a seam
    around masks of 0 and 255; of other values all but 0. Of a palette all objects
    count, 255 beside others being void. Of several channels the first one counts.

    Raises:
      FrameError: unreadable, or not of the size `size_hw`.
    """
    with _open(path) as image:
        palette = image.mode == "P"
        values = _decode(path, lambda: np.array(image))
    values = values[..., 0] if values.ndim == 3 else values
    if palette and values.size and np.any((values > 0) & (values < 255)):
        found = (values > 0) & (values < 255)
    else:
        found = values > (128 if values.max(initial=0) == 255 else 0)
    return _sized(path, found.astype(np.int32), size_hw)


def read_depth(
    path: pathlib.Path, size_hw: tuple[int, int] | None = None, unit: float = 1e-3
) -> np.ndarray:
    """Reads a depth map.

    Args:
      unit: World units of one step of a PNG; arrays are taken as they are.

    Raises:
      FrameError: unreadable, several channels, 8 bit, negative, or of another size.
    """
    depth = _read_map(path)
    if path.suffix.lower() == ".png":
        if depth.dtype == np.uint8:
            raise FrameError(f"{path}: 8-bit depth; expected 16 bit, in millimetres")
        depth = depth.astype(np.float32) * np.float32(unit)
    elif depth.dtype.kind not in "fiu":
        raise FrameError(f"{path}: {depth.dtype} values; depth must be numbers")
    depth = depth.astype(np.float32)
    if (depth < 0).any():
        raise FrameError(f"{path}: depth {np.nanmin(depth)} is negative")
    unknown = (depth == 0) | np.isnan(depth)
    return _sized(path, np.where(unknown, np.float32(np.inf), depth), size_hw)


def _read_map(path: pathlib.Path) -> np.ndarray:
    """One channel from a PNG, an npy file, or the only array of an npz file."""
    if path.suffix.lower() == ".npy":
        found = _read(arrays.read_npy, path)
    elif path.suffix.lower() == ".npz":
        found = _only_array(path)
    else:
        with _open(path) as image:
            if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
                raise FrameError(
                    f"{path}: a {image.mode} image; expected one channel or a palette"
                )
            found = _decode(path, lambda: np.array(image))
    if found.ndim != 2:
        raise FrameError(f"{path}: an array of shape {found.shape}; expected (H, W)")
    return found


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file that belongs to one frame.

    Raises:
      FrameError: missing or unreadable.
    """
    return _read(arrays.read_npz, path)


def _read(reader: Callable[..., Any], path: pathlib.Path) -> Any:
    """One frame's file: what is wrong with it costs the frame, not the clip."""
    try:
        return reader(path)
    except UsageError as err:
        raise FrameError(str(err)) from None


def _only_array(path: pathlib.Path) -> np.ndarray:
    found = read_arrays(path)
    if len(found) != 1:
        raise FrameError(f"{path}: {len(found)} arrays in it; expected one")
    return next(iter(found.values()))


def _open(path: pathlib.Path) -> Image.Image:
    image = _decode(path, lambda: Image.open(path))
    if image.width * image.height > MAX_PIXELS:
        raise FrameError(f"{path}: {image.width} x {image.height} pixels is too large")
    return image


def _decode(path: pathlib.Path, read: Callable[[], Any]) -> Any:
    if not path.is_file():
        raise FrameError(f"{path}: no such file")
    try:
        return read()
    except BAD_IMAGE as err:
        raise FrameError(
            f"{path}: not a readable image ({arrays.first_line(err)})"
        ) from None


def _sized(
    path: pathlib.Path, values: np.ndarray, size_hw: tuple[int, int] | None
) -> np.ndarray:
    if size_hw is not None and values.shape[:2] != size_hw:
        raise FrameError(
            f"{path}: {values.shape[1]} x {values.shape[0]} pixels; the clip has "
            f"{size_hw[1]} x {size_hw[0]}"
        )
    return values


# ---------------------------------------------------------------- folders of images


def list_frames(
    folder: pathlib.Path, suffixes: Sequence[str]
) -> dict[str, pathlib.Path]:
    """The files of a folder by name without suffix, numbers in numeric order.

    Raises:
      UsageError: no such folder, no such file in it, or two files for one frame.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    ]
    if not paths:
        raise UsageError(f"{folder}: no frames here; expected {', '.join(suffixes)}")
    paths.sort(key=lambda path: natural_key(path.stem))
    twice = [n for n, k in collections.Counter(p.stem for p in paths).items() if k > 1]
    if twice:
        raise UsageError.from_problems(
            f"{folder}: several files for the frame {name}; keep one" for name in twice
        )
    return {path.stem: path for path in paths}


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts frame_9 before frame_10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]


def last_number(name: str) -> int | None:
    """The last number in a name: 12 for "frame_0012"."""
    found = re.findall(r"\d+", name)
    return int(found[-1]) if found else None


def first_size(
    paths: Sequence[pathlib.Path], read: Callable[[pathlib.Path], np.ndarray]
) -> tuple[int, int]:
    """Height and width of the first file that can be read.

    Raises:
      UsageError: none can.
    """
    reason = ""
    for path in paths:
        try:
            height, width = read(path).shape[:2]
            return height, width
        except FrameError as err:
            reason = reason or str(err)
    raise UsageError(f"none of {len(paths)} frames can be read; the first: {reason}")


def file_source(
    paths: Sequence[pathlib.Path | None],
    read: Callable[[pathlib.Path, tuple[int, int]], Any],
    size_hw: tuple[int, int],
) -> Source[Any]:
    """Frame t of a layer is `read(paths[t], size_hw)`, None where there is no file."""
    picked = list(paths)

    def frame(t: int) -> Any:
        path = picked[t]
        return None if path is None else read(path, size_hw)

    return Source(frame, len(picked))


# ---------------------------------------------------------------------------- writing


def write_image(path: pathlib.Path, image: np.ndarray, quality: int = 95) -> None:
    """Writes an RGB or gray uint8 image as PNG or JPEG, by the suffix."""
    pixels = image if image.ndim == 2 else image[..., ::-1]
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if is_jpeg else []
    _write_encoded(path, np.ascontiguousarray(pixels), options)


def write_labels(path: pathlib.Path, labels: np.ndarray) -> None:
    """Writes a label map as 16-bit PNG.

    Raises:
      ValueError: a label is negative or above 65,535; rank them first.
    """
    if labels.size and not 0 <= labels.min() <= labels.max() < 1 << 16:
        raise ValueError(
            f"labels {labels.min()}..{labels.max()} do not fit 16 bit; rank them"
        )
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    _write_encoded(path, labels.astype(np.uint16), options)


def _write_encoded(path: pathlib.Path, pixels: np.ndarray, options: list[int]) -> None:
    done, data = cv2.imencode(path.suffix, pixels, options)
    if not done:
        raise ValueError(f"{path}: cannot encode {pixels.dtype} as {path.suffix}")
    arrays.write_bytes(path, data.tobytes(), sync=False)
