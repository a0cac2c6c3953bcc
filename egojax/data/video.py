"""Video files: every frame exactly, in any order; H.264 out."""

import os
import pathlib
import threading
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Any, NamedTuple

import cv2
import numpy as np

from egojax.data.arrays import first_line
from egojax.errors import FrameError, UsageError
from egojax.types import Source

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


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
            if t not in self._cache:
                raise FrameError(f"{self.path}: frame {t} cannot be decoded")
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
                f"{self.path}: not a readable video ({first_line(err)})"
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
        for packet in self._packets(container):
            if packet.size == 0 or packet.is_discard:
                continue
            stamps.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
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
                f"{self.path}: cannot be decoded ({first_line(err)})"
            ) from None
        finally:
            container.close()
        raise UsageError(f"{self.path}: a video without frames")

    def _count_by_decoding(self) -> int:
        container = self._open()
        count = 1 + max((t for t, _ in self._numbered(container)), default=-1)
        container.close()
        return count

    def _decode_to(self, t: int) -> None:
        """Decodes until frame t is in the cache."""
        key = self._key_before(t)
        # A jump ahead is cheaper by seeking, too, if a key frame lies on the way.
        if self._container is None or t < self._next or key > self._next + self._keep:
            self._seek(key)
            self._advance(t)
            if t in self._cache or key == 0:
                return
            self._seek(0)  # The container did not seek where it was told to.
        self._advance(t)

    def _advance(self, t: int) -> None:
        for index, frame in self._frames:
            self._next = index + 1
            self._cache[index] = self._picture(frame)
            while len(self._cache) > self._keep:
                del self._cache[next(iter(self._cache))]
            if index >= t:
                break

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

    def _seek(self, key: int) -> None:
        """Starts again at this key frame."""
        self.close()
        self._container = self._open()
        self._next = key
        if key > 0:
            stream = self._container.streams.video[0]
            self._container.seek(self._stamps[key], stream=stream, backward=True)
        self._frames = self._numbered(self._container)

    def _numbered(self, container: Any) -> Iterator[tuple[int, Any]]:
        """Decoded frames with their index; damaged packets are passed over."""
        count = 0
        for packet in self._packets(container):
            try:
                decoded = packet.decode()
            except self._av.FFmpegError:
                continue
            for frame in decoded:
                index = self._place.get(frame.pts) if self._place else count
                count += 1
                if index is not None and not frame.is_corrupt:
                    yield index, frame

    def _packets(self, container: Any) -> Iterator[Any]:
        """The packets up to the end, or to where the file is damaged."""
        try:
            yield from container.demux(container.streams.video[0])
        except self._av.FFmpegError:
            return


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
