"""Images, label maps, depth maps and video files: read frame by frame, write.

Images are uint8 RGB (H, W, 3). Label maps are int32 (H, W), 0 for background, from PNG
(8 or 16 bit, or a palette, whose indices count) or npy. Depth is float32 (H, W), camera
z, from 16-bit PNG (millimetres), npy or npz; 0 and NaN say "unknown" and become +inf,
as where nothing is. Readers of one frame raise `FrameError`, so that a run goes on
without it; a video or folder that cannot be used at all raises `UsageError`.
"""

import collections
import math
import os
import pathlib
import re
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from types import TracebackType
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from egojax.data import arrays
from egojax.errors import FrameError, UsageError
from egojax.types import Source

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
LABELS = (".png", ".npy")
DEPTHS = (".png", ".npy", ".npz")
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")

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
    """Reads an image, turned upright as its EXIF tag says.

    Raises:
      FrameError: missing, truncated, no image, or not of the size `size_hw`.
    """
    with _open(path) as image:
        upright = _decode(path, lambda: ImageOps.exif_transpose(image).convert("RGB"))
    return _sized(path, np.asarray(upright), size_hw)


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
        found = _read_npy(path)
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


def _read_npy(path: pathlib.Path) -> np.ndarray:
    """The array of an npy file whose header is true to the size of the file."""
    if not path.is_file():
        raise FrameError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            head = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                version, np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = head(file)
            held = path.stat().st_size - file.tell()
        needed = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or held < needed:
            raise ValueError(f"{needed} bytes of {dtype} announced, {held} there")
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as err:
        raise FrameError(f"{path}: not a readable array ({_first_line(err)})") from None


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file that belongs to one frame.

    Raises:
      FrameError: missing or unreadable.
    """
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise FrameError(f"{path}: no such file, or not an npz file")
    try:
        return arrays.read_npz(path)
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
        raise FrameError(f"{path}: not a readable image ({_first_line(err)})") from None


def _first_line(err: Exception) -> str:
    return str(err).splitlines()[0][:120] if str(err) else type(err).__name__


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


# ------------------------------------------------------------------------ video files


class VideoInfo(NamedTuple):
    """What a scan of the packets of a video file found."""

    num_frames: int
    size_hw: tuple[int, int]
    fps: float


class VideoFile:
    """A video file, decoded in sequence, with the last few frames kept.

    Frames are known by their time stamps, read from the packets once without decoding:
    frame t is the one with the t-th smallest. A step back seeks to a key frame before
    that time and decodes on until the stamp itself turns up, so a container that seeks
    inexactly gives the right frame or an error, never another frame. Files without
    usable stamps are counted by decoding and re-read from the start.
    """

    def __init__(self, path: pathlib.Path, keep: int = 8):
        """Opens the file and counts its frames.

        Raises:
          UsageError: no such file, no video in it, no frames, or an unknown codec.
        """
        import av

        self.path = path
        self._av = av
        self._keep = keep
        self._lock = threading.Lock()
        self._cache: dict[int, np.ndarray] = {}  # Oldest first.
        self._container: Any = None
        self._frames: Iterator[tuple[int, Any]] = iter(())
        self._next = 0  # Index of the frame that comes out of `_frames` next.
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
        self._stamps, self._keys = self._scan_packets()
        first, fps = self._probe()
        self._place = {stamp: t for t, stamp in enumerate(self._stamps)}
        count = len(self._stamps) or self._count_by_decoding()
        self.info = VideoInfo(count, first.shape[:2], fps)

    def source(self) -> Source[np.ndarray]:
        """The frames, uint8 RGB."""
        return Source(self.read, self.info.num_frames)

    def read(self, t: int) -> np.ndarray:
        """Frame t.

        Raises:
          FrameError: the file is damaged there.
        """
        with self._lock:
            if t not in self._cache:
                self._decode_to(t)
            return self._cache[t]

    def close(self) -> None:
        """Closes the file; the next read opens it again."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open(self) -> Any:
        try:
            container = self._av.open(str(self.path))
        except (self._av.FFmpegError, OSError, ValueError) as err:
            raise UsageError(
                f"{self.path}: not a readable video ({_first_line(err)})"
            ) from None
        if not container.streams.video:
            container.close()
            raise UsageError(f"{self.path}: has no video stream")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            container.close()
            raise UsageError(f"{self.path}: its codec cannot be decoded here")
        stream.thread_type = "AUTO"
        return container

    def _scan_packets(self) -> tuple[list[int], list[int]]:
        """Time stamps of all frames and of the key frames; empty if not usable."""
        container = self._open()
        stamps, keys = [], []
        try:
            for packet in container.demux(container.streams.video[0]):
                if packet.size == 0 or packet.is_discard:
                    continue
                stamps.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
        except self._av.FFmpegError:
            pass  # A damaged end: the frames before it count.
        finally:
            container.close()
        if None in stamps or len(set(stamps)) < len(stamps):
            return [], []
        return sorted(stamps), sorted(keys)

    def _probe(self) -> tuple[np.ndarray, float]:
        container = self._open()
        try:
            stream = container.streams.video[0]
            for frame in container.decode(stream):
                rate = stream.average_rate or stream.guessed_rate or 30
                return _upright(frame), float(rate)
        except (self._av.FFmpegError, ValueError) as err:
            raise UsageError(
                f"{self.path}: cannot be decoded ({_first_line(err)})"
            ) from None
        finally:
            container.close()
        raise UsageError(f"{self.path}: a video without frames")

    def _count_by_decoding(self) -> int:
        container, count = self._open(), 0
        try:
            for _ in container.decode(container.streams.video[0]):
                count += 1
        except self._av.FFmpegError:
            pass  # As in `_scan_packets`.
        finally:
            container.close()
        return count

    def _decode_to(self, t: int) -> None:
        """Decodes until frame t is in the cache."""
        restart = self._container is None or not self._next <= t
        # A jump ahead of a key frame is cheaper by seeking, too.
        if restart or self._key_before(t) > self._next + self._keep:
            self._seek(t)
        for index, frame in self._frames:
            self._next = index + 1
            self._cache[index] = self._picture(frame)
            while len(self._cache) > self._keep:
                del self._cache[next(iter(self._cache))]
            if index >= t:
                break
        if t not in self._cache:
            raise FrameError(f"{self.path}: frame {t} cannot be decoded")

    def _picture(self, frame: Any) -> np.ndarray:
        picture = _upright(frame)
        if picture.shape[:2] != self.info.size_hw:
            picture = cv2.resize(picture, self.info.size_hw[::-1])
        return picture

    def _key_before(self, t: int) -> int:
        """Frame index of the last key frame up to frame t."""
        if not self._keys:
            return 0
        at = np.searchsorted(self._keys, self._stamps[t], side="right") - 1
        return self._place[self._keys[max(at, 0)]]

    def _seek(self, t: int) -> None:
        self.close()
        self._container = self._open()
        self._next = 0
        first = self._key_before(t)
        stream = self._container.streams.video[0]
        if first > 0:
            self._container.seek(self._stamps[first], stream=stream, backward=True)
            self._next = first
        self._frames = self._numbered(stream)

    def _numbered(self, stream: Any) -> Iterator[tuple[int, Any]]:
        """Decoded frames with their index; damaged packets are passed over."""
        count = 0
        for packet in self._container.demux(stream):
            try:
                decoded = packet.decode()
            except self._av.FFmpegError:
                continue
            for frame in decoded:
                index = self._place.get(frame.pts) if self._place else count
                count += 1
                if index is not None and not frame.is_corrupt:
                    yield index, frame


def _upright(frame: Any) -> np.ndarray:
    """RGB, turned as the file's display matrix says (phones film sideways)."""
    picture = frame.to_ndarray(format="rgb24")
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def read_video(path: pathlib.Path, keep: int = 8) -> tuple[Source[Any], VideoInfo]:
    """The frames of a video file and what is known of it.

    Raises:
      UsageError: as in `VideoFile`.
    """
    video = VideoFile(path, keep)
    return video.source(), video.info


# ---------------------------------------------------------------------------- writing


def write_image(path: pathlib.Path, image: np.ndarray, quality: int = 95) -> None:
    """Writes an RGB or gray uint8 image as PNG or JPEG, by the suffix."""
    pixels = image if image.ndim == 2 else image[..., ::-1]
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
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


def write_depth(path: pathlib.Path, depth: np.ndarray, unit: float = 1e-3) -> None:
    """Writes depth as 16-bit PNG; unknown, infinite and too far become 0."""
    steps = np.nan_to_num(depth / unit, nan=0.0, posinf=0.0)
    steps = np.where(steps > np.iinfo(np.uint16).max, 0, np.round(steps))
    _write_encoded(path, steps.astype(np.uint16), [cv2.IMWRITE_PNG_COMPRESSION, 1])


def _write_encoded(path: pathlib.Path, pixels: np.ndarray, options: list[int]) -> None:
    done, data = cv2.imencode(path.suffix, pixels, options)
    if not done:
        raise ValueError(f"{path}: cannot encode {pixels.dtype} as {path.suffix}")
    arrays.write_bytes(path, data.tobytes())


class VideoWriter:
    """Writes H.264 frame by frame, under a temporary name until it is whole.

    with VideoWriter(path, fps=30) as video:
        for frame in frames:  # uint8 (H, W, 3) RGB, all of one size
            video.write(frame)

    Odd sides grow by one repeated row or column, since H.264 wants even ones. Leaving
    the block by an exception, or without a frame, writes no file (an old one stays).
    """

    def __init__(self, path: pathlib.Path, fps: float = 30.0, crf: int = 20):
        self.path = path
        self._part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
        self._rate = Fraction(fps).limit_denominator(1001)
        self._crf = crf
        self._container: Any = None
        self._stream: Any = None
        self._size_hw: tuple[int, ...] = ()

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, frame: np.ndarray) -> None:
        """Adds a frame.

        Raises:
          ValueError: not uint8 (H, W, 3), or of another size than the first.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(
                f"expected uint8 (H, W, 3), not {frame.dtype} {frame.shape}"
            )
        if not self._size_hw:
            self._start(frame.shape[:2])
        if frame.shape[:2] != self._size_hw:
            raise ValueError(f"a {frame.shape[:2]} frame, others are {self._size_hw}")
        import av

        height, width = self._size_hw
        pad = ((0, height % 2), (0, width % 2), (0, 0))
        even = np.pad(frame, pad, mode="edge") if height % 2 or width % 2 else frame
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        self._container.mux(self._stream.encode(picture))

    def _start(self, size_hw: tuple[int, ...]) -> None:
        import av

        self._size_hw = size_hw
        self._container = av.open(
            str(self._part), "w", options={"movflags": "faststart"}
        )
        options = {"crf": str(self._crf), "preset": "veryfast"}
        self._stream = self._container.add_stream(
            "libx264", rate=self._rate, options=options
        )
        self._stream.height, self._stream.width = (n + n % 2 for n in size_hw)
        self._stream.pix_fmt = "yuv420p"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._container is None:
            return
        try:
            if kind is None:
                self._container.mux(self._stream.encode())
            self._container.close()
            if kind is None:
                os.replace(self._part, self.path)
        finally:
            self._part.unlink(missing_ok=True)


def write_video(
    path: pathlib.Path, frames: Iterable[np.ndarray], fps: float = 30.0, crf: int = 20
) -> None:
    """Writes all frames of an iterable as H.264."""
    with VideoWriter(path, fps, crf) as video:
        for frame in frames:
            video.write(frame)
