"""A clip frame by frame or chunk by chunk, read ahead in the background.

However long the clip, a few frames are in memory. A frame whose reading raises
`FrameError` is left out and told; anything else that is raised reaches the caller.
"""

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from egojax.errors import FrameError
from egojax.types import Camera, Chunk, Clip, SkippedFrame

T = TypeVar("T")
U = TypeVar("U")

# Layers of fixed shape, so that frames can be stacked, with the type of the stack.
DTYPES = {
    "frames": np.uint8,
    "camera": np.float32,
    "labels": np.int32,
    "depth": np.float32,
    "static_depth": np.float32,
    "flow_fwd": np.float32,
    "flow_bwd": np.float32,
    "masks": None,  # Boolean or soft: as the source has it.
}


class HostFrame(NamedTuple):
    """The layers of one frame; None where the clip has nothing for it."""

    frame_idx: int
    layers: Mapping[str, Any]
    skipped: SkippedFrame | None = None  # Set if the frame cannot be used.


def host_frames(
    clip: Clip,
    layers: Sequence[str],
    read_ahead: int = 8,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[HostFrame]:
    """Yields the frames from `start` to `stop`, ragged layers included.

    Args:
      layers: Names of sources of the clip; "truth.labels" reaches into its truth,
        "streams.NAME" into its streams.
      read_ahead: Frames read in a background thread before they are asked for.

    Raises:
      ValueError: the clip has no such layer (before anything is read).
    """
    sources = {name: find_layer(clip, name) for name in layers}

    def read(t: int) -> HostFrame:
        try:
            return HostFrame(t, {name: source[t] for name, source in sources.items()})
        except FrameError as err:
            return HostFrame(t, {}, SkippedFrame(t, str(err)))

    frames = range(clip.num_frames)[start:stop]
    return prefetch(read, frames, read_ahead)


def chunks(
    clip: Clip,
    layers: Sequence[str],
    size: int,
    read_ahead: int = 1,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[tuple[Chunk, list[SkippedFrame]]]:
    """Yields chunks of `size` frames, the last one padded, and the frames left out.

    A frame for which one of the layers is None (no pose, not annotated) has `valid`
    False as well, but is not among the frames left out: nothing is wrong with it.

    Args:
      layers: Fields of `Chunk`.
      read_ahead: Chunks that are read in a background thread before they are asked for.

    Raises:
      ValueError: the clip has no such layer, or it cannot be stacked.
    """
    ragged = [name for name in layers if name not in DTYPES]
    if ragged:
        raise ValueError(f"no stack of {ragged}: read them with host_frames")
    for name in layers:
        find_layer(clip, name)
    frames = range(clip.num_frames)[start:stop]

    def read(first: int) -> tuple[Chunk, list[SkippedFrame]]:
        picked = range(first, min(first + size, frames.stop))
        rows = list(host_frames(clip, layers, 0, picked.start, picked.stop))
        skipped = [row.skipped for row in rows if row.skipped is not None]
        return _stack(clip, layers, rows, size), skipped

    return prefetch(read, frames[::size], read_ahead)


def prefetch(
    read: Callable[[T], U], items: Iterable[T], read_ahead: int
) -> Iterator[U]:
    """Yields `read(item)` in order, computed in one thread up to `read_ahead` before.

    The thread ends with the iterator, also when it is closed or dropped early.
    """
    if read_ahead < 1:
        yield from map(read, items)
        return
    pending: collections.deque[concurrent.futures.Future[U]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(1, "read-ahead") as pool:
        try:
            for item in items:
                pending.append(pool.submit(read, item))
                if len(pending) > read_ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def find_layer(clip: Clip, name: str) -> Any:
    """The source with this name, as in `host_frames`.

    Raises:
      ValueError: the clip has none.
    """
    owner, _, rest = name.partition(".")
    if owner == "truth" and rest and clip.truth is not None:
        return find_layer(clip.truth, rest)
    known = {**clip.sources, **{f"streams.{k}": s for k, s in clip.streams.items()}}
    if name not in known:
        raise ValueError(f"{clip.name}: no layer {name!r}; there are {sorted(known)}")
    return known[name]


def _stack(
    clip: Clip, layers: Sequence[str], rows: list[HostFrame], size: int
) -> Chunk:
    usable = [
        row.skipped is None and all(row.layers[name] is not None for name in layers)
        for row in rows
    ]
    stacked: dict[str, Any] = {}
    for name in layers:
        values = [
            row.layers[name] if ok else None
            for row, ok in zip(rows, usable, strict=True)
        ]
        values += [None] * (size - len(rows))
        join = _stack_cameras if name == "camera" else _stack_arrays
        stacked[name] = join(clip, name, values)
    idx = np.zeros(size, np.int32)
    idx[: len(rows)] = [row.frame_idx for row in rows]
    valid = np.zeros(size, bool)
    valid[: len(rows)] = usable
    return Chunk(frame_idx=idx, valid=valid, **stacked)


def _stack_arrays(clip: Clip, name: str, values: list[Any]) -> np.ndarray:
    known = [np.asarray(v) for v in values if v is not None]
    if known:
        shape, dtype = known[0].shape, DTYPES[name] or known[0].dtype
    else:
        shape, dtype = _blank(clip, name)
    out = np.zeros((len(values), *shape), dtype)
    for row, value in zip(out, values, strict=True):
        if value is not None:
            row[...] = value
    return out


def _blank(clip: Clip, name: str) -> tuple[tuple[int, ...], Any]:
    """Shape and type of a chunk in which no frame is usable."""
    tail = {"frames": (3,), "flow_fwd": (2,), "flow_bwd": (2,)}.get(name, ())
    head = (len(clip.mask_ids),) if name == "masks" else ()
    return (*head, *clip.size_hw, *tail), DTYPES[name] or bool


def _stack_cameras(clip: Clip, name: str, values: list[Any]) -> Camera:
    """Frames without a camera get the identity, which projects to finite numbers."""
    known = [v for v in values if v is not None]
    size_hw = known[0].size_hw if known else clip.size_hw
    lens = known[0].lens if known else "pinhole"
    count = 0
    if known and known[0].distortion is not None:
        count = known[0].distortion.shape[-1]
    eye3, eye4 = np.eye(3, dtype=np.float32), np.eye(4, dtype=np.float32)
    distortion = np.zeros((len(values), count), np.float32)
    for row, camera in zip(distortion, values, strict=True):
        if camera is not None and camera.distortion is not None:
            row[...] = camera.distortion
    return Camera(
        intrinsics=_fill(values, "intrinsics", eye3),
        w2c=_fill(values, "w2c", eye4),
        distortion=distortion if count else None,
        size_hw=size_hw,
        lens=lens,
    )


def _fill(values: list[Any], field: str, blank: np.ndarray) -> np.ndarray:
    rows = [blank if v is None else np.asarray(getattr(v, field)) for v in values]
    return np.stack(rows).astype(np.float32)
