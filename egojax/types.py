"""The records that every module speaks, and the decorator `typed`.

Two kinds. On the host, a `Clip` holds lazy `Source`s: frame t of one layer, read on
demand, so that a video of any length passes through in bounded memory. Across jit go
pytrees of arrays, such as a `Camera`.

Axes: time first, then objects or points, then space, then channels. Pixels are (x, y)
and (0, 0) is the outer corner of the first pixel. Cameras look along +z (OpenCV axes),
`depth` is camera z, and a depth of +inf says that nothing is there. Label 0 is the
background; every other label is an object or segment id.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import beartype
import jax
import jaxtyping
import numpy as np
from flax import struct
from jaxtyping import Array, Float

T = TypeVar("T")
U = TypeVar("U")
F = TypeVar("F", bound=Callable[..., Any])

ArrayLike = jax.Array | np.ndarray


def typed(fn: F) -> F:
    """Checks the shapes and types in a signature while tracing, at no cost per step."""
    # An int is a float here, as everywhere else in Python.
    checker = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
    return jaxtyping.jaxtyped(typechecker=checker)(fn)


# ------------------------------------------------------------------ host: sources


class Source(Generic[T]):
    """One layer of a clip: `source[t]` reads frame t, and nothing is kept.

    Reading may raise `errors.FrameError` (this frame is unusable). A value of None says
    that the layer has nothing for this frame (not annotated, not registered).
    """

    def __init__(self, read: Callable[[int], T], length: int):
        self._read = read
        self._length = length

    @classmethod
    def of(cls, values: Sequence[T]) -> "Source[T]":
        """A source over values in memory (a list or an array with leading time)."""
        return cls(lambda t: values[t], len(values))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, t: int) -> T:
        if not 0 <= t < self._length:
            raise IndexError(f"frame {t} of a source of {self._length}")
        return self._read(t)

    def __iter__(self) -> Iterator[T]:
        return (self._read(t) for t in range(self._length))

    def map(self, fn: Callable[[T], U]) -> "Source[U]":
        """The same frames through `fn`, lazily."""
        return Source(lambda t: fn(self._read(t)), self._length)

    def select(self, frames: Sequence[int]) -> "Source[T]":
        """The frames at these positions, in this order (repeats are fine)."""
        picked = list(frames)
        return Source(lambda t: self[picked[t]], len(picked))


@dataclasses.dataclass(frozen=True)
class Segments:
    """The 2D segments of one frame, a row each (host)."""

    ids: np.ndarray  # int64 (n,), > 0, unique: the values of the frame's label map.
    category: np.ndarray  # int32 (n,), index into `Clip.category_names`; -1 = unknown.
    score: np.ndarray  # float32 (n,), in [0, 1].


@dataclasses.dataclass(frozen=True)
class SegmentFeatures:
    """Appearance of the segments of one frame (host)."""

    ids: np.ndarray  # int64 (n,)
    values: np.ndarray  # float32 (n, D), not normalised.


@dataclasses.dataclass(frozen=True)
class Objects:
    """True or estimated state of the objects of one frame, a row each (host)."""

    ids: np.ndarray  # int64 (n,)
    category: np.ndarray  # int32 (n,)
    centers: np.ndarray  # float64 (n, 3), world units; NaN where unknown.
    o2w: np.ndarray | None = None  # float64 (n, 4, 4), object to world.
    extent: np.ndarray | None = None  # float64 (n, 2, 3), box in object axes, min, max.
    occlusion: np.ndarray | None = None  # float32 (n,), hidden share; 1 = out of view.
    motion: np.ndarray | None = None  # int8 (n,): 0 at rest, 1 moved before, 2 moving.


@dataclasses.dataclass(frozen=True)
class Boxes:
    """2D boxes of one frame, a row each (host)."""

    ids: np.ndarray  # int64 (n,)
    xyxy: np.ndarray  # float64 (n, 4), pixels, outer corners.
    visibility: np.ndarray  # float64 (n,), in [0, 1].


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A triangle mesh in world units (host)."""

    vertices: np.ndarray  # float32 (V, 3)
    faces: np.ndarray  # int32 (F, 3); counter-clockwise seen from outside.
    colors: np.ndarray | None = None  # uint8 (V, 3)


class View(NamedTuple):
    """What a radiance field must know of a frame beside its image and camera (host)."""

    near: float  # Camera z, world units; 0 < near < far.
    far: float
    slot: int  # Row of the frame in tables of time and appearance codes, from 0.
    split: str  # "train", "val" or "test".


# ---------------------------------------------------------- pytrees that cross jit


@struct.dataclass
class Camera:
    """Pinhole cameras with a lens, one or one per frame.

    `lens` names the distortion model and the order of its coefficients
    (`ops.lens.LENSES`); a pinhole has none.
    """

    intrinsics: Float[Array, "*T 3 3"] | np.ndarray  # Pixels.
    w2c: Float[Array, "*T 4 4"] | np.ndarray  # World to camera, OpenCV axes.
    distortion: Float[Array, "*T D"] | np.ndarray | None = None
    size_hw: tuple[int, int] = struct.field(pytree_node=False, default=(0, 0))
    lens: str = struct.field(pytree_node=False, default="pinhole")


@struct.dataclass
class Tracks:
    """Points followed over time."""

    tracks_xy: Float[Array, "T N 2"] | np.ndarray
    visibility: Any  # bool (T, N), True = visible.


@dataclasses.dataclass(frozen=True)
class WindowTracks:
    """Points of one frame, the query, followed through the frames around it (host).

    Where a point is not visible its place is the tracker's guess.
    """

    tracks_xy: np.ndarray  # float32 (T, N, 2), pixels; finite.
    visibility: np.ndarray  # bool (T, N), True = visible.
    frames: np.ndarray  # int32 (T,), rising, or reflected at the ends of a short clip.
    query: int  # Which of `frames` the points were taken from.
    size_hw: tuple[int, int]  # Of the images that the pixels are of.


@dataclasses.dataclass(frozen=True)
class PointTracks:
    """Points of a clip, each followed from where it begins to where it is lost (host).

    A point that comes back into sight is another one.
    """

    first: np.ndarray  # int32 (N,), the frame that a track begins in.
    count: np.ndarray  # int32 (N,), frames that it lasts; >= 1.
    xy: np.ndarray  # float32 (M, 2), pixels, track after track; M = count.sum().
    size_hw: tuple[int, int]  # Of the images that the pixels are of.

    def __len__(self) -> int:
        return len(self.first)

    @property
    def offset(self) -> np.ndarray:
        """int64 (N,), the row of `xy` that each track begins in."""
        return np.cumsum(self.count, dtype=np.int64) - self.count

    def at(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """The tracks that a frame sees (n,), and where they are there (n, 2)."""
        age = frame - self.first
        seen = np.flatnonzero((age >= 0) & (age < self.count))
        return seen, self.xy[self.offset[seen] + age[seen]]

    def through(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The tracks that all of these frames see (n,), and their places (T, n, 2)."""
        whole = np.flatnonzero(
            (self.first <= start) & (self.first + self.count >= stop)
        )
        begin = self.offset[whole] + start - self.first[whole]
        return whole, self.xy[begin[None] + np.arange(stop - start)[:, None]]


# --------------------------------------------------------------------- host: clips


@dataclasses.dataclass(frozen=True)
class Clip:
    """One video with whatever is known of it: what readers return and jobs fill in.

    All sources have `num_frames` frames. A camera source yields single cameras (no time
    axis, NumPy arrays), or None where the frame has no pose.
    """

    name: str
    frame_ids: tuple[str, ...]  # One per frame, as the source names it.
    size_hw: tuple[int, int]
    fps: float = 30.0
    category_names: tuple[str, ...] = ()
    metric_scale: float = 1.0  # Metres per world unit.
    scale_known: bool = True  # False: nothing says the scale, and 1 stands in for it.
    mesh: Mesh | None = None
    points: np.ndarray | None = None  # float64 (P, 3), sparse points of the scene.
    frames: Source[Any] | None = None  # uint8 (H, W, 3)
    camera: Source[Any] | None = None  # Camera | None
    labels: Source[Any] | None = None  # int32 (H, W) | None: 2D segments, or objects.
    segments: Source[Any] | None = None  # Segments | None
    features: Source[Any] | None = None  # SegmentFeatures | None
    boxes: Source[Any] | None = None  # Boxes | None
    depth: Source[Any] | None = None  # float32 (H, W): monocular, sensor, or aligned.
    static_depth: Source[Any] | None = None  # float32 (H, W): of the static scene.
    masks: Source[Any] | None = None  # bool (K, H, W), amodal or soft, by `mask_ids`.
    mask_ids: tuple[int, ...] = ()
    actor: Source[Any] | None = None  # bool (H, W): hands and arms of the wearer.
    objects: Source[Any] | None = None  # Objects | None
    flow_fwd: Source[Any] | None = None  # float32 (H, W, 2), pixels to frame t + 1.
    flow_bwd: Source[Any] | None = None  # float32 (H, W, 2), pixels to frame t - 1.
    tracks: Source[Any] | None = None  # Tracks of one frame: (N, 2) and (N,).
    views: Source[Any] | None = None  # View | None: as a radiance field is trained.
    streams: Mapping[str, Source[Any]] = dataclasses.field(default_factory=dict)
    truth: "Clip | None" = None  # The same frames as they really are, where known.
    notes: tuple[str, ...] = ()  # What the reader wants the user to know, a line each.

    @property
    def num_frames(self) -> int:
        return len(self.frame_ids)

    @property
    def sources(self) -> dict[str, Source[Any]]:
        """The layers that this clip has, by name."""
        named = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {name: value for name, value in named if isinstance(value, Source)}

    def replace(self, **changes: Any) -> "Clip":
        """A copy with these fields changed."""
        return dataclasses.replace(self, **changes)

    def select(self, frames: Sequence[int], name: str | None = None) -> "Clip":
        """The clip cut to these frame positions, truth and streams included."""
        picked = [range(self.num_frames)[t] for t in frames]
        layers: dict[str, Any] = {
            key: source.select(picked) for key, source in self.sources.items()
        }
        return self.replace(
            name=self.name if name is None else name,
            frame_ids=tuple(self.frame_ids[t] for t in picked),
            streams={key: s.select(picked) for key, s in self.streams.items()},
            truth=None if self.truth is None else self.truth.select(picked),
            **layers,
        )


class SkippedFrame(NamedTuple):
    """A frame that was left out, and why."""

    frame_idx: int
    reason: str


@dataclasses.dataclass(frozen=True)
class TrackTable:
    """What tracking found: a row per observed segment, sorted by frame (host).

    `segment_id` is the identity before, `track_id` the one after; both join to the
    frame's label maps. This is `tracks.npz`, column by column.
    """

    frame_idx: np.ndarray  # int32 (M,), position in the clip.
    segment_id: np.ndarray  # int64 (M,), id of the 2D segment.
    track_id: np.ndarray  # int32 (M,), lasting id, 1..K; 0 = given no track.
    category: np.ndarray  # int32 (M,)
    score: np.ndarray  # float32 (M,), of the segment.
    confidence: np.ndarray  # float32 (M,), in [0, 1]: that the link is right.
    location: np.ndarray  # float32 (M, 3), metres; NaN where it could not be lifted.
    centroid_xy: np.ndarray  # float32 (M, 2), pixels.
    area: np.ndarray  # int32 (M,), pixels.

    def __len__(self) -> int:
        return len(self.frame_idx)
