"""A clip frame by frame, read ahead in the background.

However long the clip, a few frames are in memory. A layer whose reading raises
`FrameError` is left out and told, with it the whole frame where it cannot do without;
anything else that is raised reaches the caller.
"""

import collections
import concurrent.futures
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from egojax.errors import FrameError
from egojax.types import Clip, SkippedFrame, Source

T = TypeVar("T")
U = TypeVar("U")


class HostFrame(NamedTuple):
    """The layers of one frame; None where the clip has nothing for it."""

    frame_idx: int
    layers: Mapping[str, Any]
    # Set if a layer cannot be read. Then `layers` is empty, or it lacks that layer.
    skipped: SkippedFrame | None = None


def host_frames(
    clip: Clip,
    layers: Sequence[str],
    read_ahead: int = 8,
    start: int = 0,
    stop: int | None = None,
    needed: Collection[str] | None = None,
) -> Iterator[HostFrame]:
    """Yields the frames from `start` to `stop`, ragged layers included.

    Args:
      layers: Names of sources of the clip; "truth.labels" reaches into its truth,
        "streams.NAME" into its streams.
      read_ahead: Frames read in a background thread before they are asked for.
      needed: Layers without which a frame is of no use, by default all of them. A frame
        without another one keeps the rest, and `skipped` says what it lacks.

    Raises:
      ValueError: the clip has no such layer (before anything is read).
    """
    sources = {name: find_layer(clip, name) for name in layers}

    def read(t: int) -> HostFrame:
        found: dict[str, Any] = {}
        lacks: dict[str, str] = {}
        for name, source in sources.items():
            try:
                found[name] = source[t]
            except FrameError as err:
                if needed is None or name in needed:
                    return HostFrame(t, {}, SkippedFrame(t, str(err)))
                lacks[name] = str(err)
        return HostFrame(t, found, partly(t, lacks))

    frames = range(clip.num_frames)[start:stop]
    return prefetch(read, frames, read_ahead)


def partly(t: int, lacks: Mapping[str, str]) -> SkippedFrame | None:
    """What is told of a frame that is used without some layers; None if it has all.

    Args:
      lacks: Why, by layer.
    """
    if not lacks:
        return None
    reasons = "; ".join(dict.fromkeys(lacks.values()))
    return SkippedFrame(t, f"read in part, without {' and '.join(lacks)}: {reasons}")


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


def kept(source: Source[T]) -> Source[T]:
    """The same frames, each read once and held in memory from then on.

    A frame that cannot be read is tried again.
    """
    found: dict[int, T] = {}

    def read(t: int) -> T:
        if t not in found:
            found[t] = source[t]
        return found[t]

    return Source(read, len(source))
