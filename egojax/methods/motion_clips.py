"""What learning masks needs of a clip: images, flow and tracks, read once (host).

Images and flow are resized and kept in memory or in a file. Lengths are in pixels of a
frame of 480 x 854, in which the weights of the losses are published, whatever the size
of the images.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from egojax.data.frame_stack import FrameStack
from egojax.data.resizing import LAYERS
from egojax.errors import FrameError, UsageError
from egojax.methods.file_windows import FileWindows
from egojax.methods.track_windows import SMOOTH, TrackWindows
from egojax.ops.motion_losses import PUBLISHED_HW
from egojax.types import PointTracks, SkippedFrame, Source

UNIT_HW = PUBLISHED_HW  # The frame that all lengths are in pixels of.
LARGEST = 1e4  # Of a flow that is kept, either way.

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class MotionClip:
    """What is known of a clip."""

    name: str
    frames: Source[Any]  # uint8 (H, W, 3)
    flows: Mapping[int, Source[Any]]  # By gap, forward and back: float32 (H, W, 2).
    tracks: PointTracks
    # Files of a tracker, by frame: windows are of these in place of `tracks`.
    files: Source[Any] | None = None  # WindowTracks | None


@dataclasses.dataclass(frozen=True)
class ItemSettings:
    """What items are made of."""

    size_hw: Size = (96, 172)  # Of images, as the network sees them.
    flow_hw: Size | None = None  # Of flow, as the loss sees it; None = as images.
    gaps: tuple[int, ...] = (1, 2)  # Frames, > 0.
    half: int = 20  # Frames of a window on each side.
    smooth: int = SMOOTH  # Frames of the moving average of tracks; 0 = none.
    num_points: int = 4096  # Of each image.
    min_visible: float = 0.1  # Least share of its window in which a point is seen.
    flip: bool = True  # Mirror every second item, by chance.
    published: bool = False  # (0, 0) is the centre of the first pixel of tracks.


class ClipItems(NamedTuple):
    """A clip as items are made from it."""

    images: np.ndarray  # uint8 (T, h, w, 3); zeros where a frame cannot be read.
    flows: dict[int, np.ndarray]  # float16 (T, h, w, 2), pixels of `UNIT_HW`.
    windows: TrackWindows | FileWindows
    scale_xy: np.ndarray  # float32 (2,), of tracks to pixels of `UNIT_HW`.
    pairs: dict[int, np.ndarray]  # bool (T,), by gap > 0: whether F is an item.
    skipped: list[SkippedFrame]
    # float16 (T, 2, ...): what a backbone sees in each image and in its mirror image;
    # None = it looks at them in each step.
    keys: np.ndarray | None = None


def read_clip(
    clip: MotionClip,
    settings: ItemSettings,
    folder: pathlib.Path | None = None,
    keys_of: Callable[[np.ndarray], np.ndarray] | None = None,
) -> ClipItems:
    """Reads what items need of a clip, once.

    Frames that cannot be read, and flows that are None, are in no item.

    Args:
      clip: With flows both ways of every gap.
      settings: See there.
      folder: Of files without a name that images and flows are kept in; None = memory.
      keys_of: What a backbone sees in images uint8 (B, h, w, 3), to be kept as well.

    Raises:
      UsageError: no items, a flow or tracks of another size, or a clip too short.
    """
    _check(clip, settings)
    num_frames = len(clip.frames)
    skipped: list[SkippedFrame] = []
    size_hw, kept = settings.size_hw, (folder, skipped)
    flow_hw = settings.flow_hw or size_hw

    def image(frame: np.ndarray) -> np.ndarray:
        return LAYERS["frames"](frame.shape[:2], size_hw, frame)

    def flow(given: np.ndarray) -> np.ndarray:
        return fitted_flow(given, flow_hw).astype(np.float16)

    blank = np.zeros((*size_hw, 3), np.uint8)
    has_image, images = _stack(clip.frames, image, blank, *kept)
    flows, has_flow = {}, {}
    for gap in _both_ways(settings.gaps):
        still = np.zeros((*flow_hw, 2), np.float16)
        has_flow[gap], flows[gap] = _stack(clip.flows[gap], flow, still, *kept)
    pairs = {}
    for gap in settings.gaps:
        forward, back = has_image & has_flow[gap], has_image & has_flow[-gap]
        pairs[gap] = forward & np.append(back[gap:], np.zeros(gap, bool))[:num_frames]
    if not any(there.any() for there in pairs.values()):
        gaps = ", ".join(map(str, settings.gaps))
        raise UsageError(
            f"{clip.name}: nothing to learn from: no frame has a flow forward and back "
            f"over a gap of {gaps} ({num_frames} frames)"
        )
    keys = None if keys_of is None else _keys(images, keys_of, folder)
    return ClipItems(
        images,
        flows,
        _windows(clip, settings),
        _scale_xy(clip),
        pairs,
        skipped,
        keys,
    )


def _keys(
    images: np.ndarray,
    keys_of: Callable[[np.ndarray], np.ndarray],
    folder: pathlib.Path | None,
) -> np.ndarray:
    """Of each image and its mirror image, (T, 2, ...)."""
    with FrameStack(len(images), folder) as stack:
        for image in images:
            both = np.stack([image, image[:, ::-1]])
            stack.append(np.asarray(keys_of(both)).astype(np.float16))
        return stack.array()


def _windows(clip: MotionClip, settings: ItemSettings) -> TrackWindows | FileWindows:
    half, smooth = settings.half, settings.smooth
    try:
        if clip.files is not None:
            return FileWindows(clip.files, half, clip.tracks.size_hw, smooth)
        return TrackWindows(clip.tracks, half, len(clip.frames), smooth=smooth)
    except ValueError as err:
        raise UsageError(f"{clip.name}: {err}") from None


def _scale_xy(clip: MotionClip) -> np.ndarray:
    (height, width), (high, wide) = UNIT_HW, clip.tracks.size_hw
    return np.array([width / wide, height / high], np.float32)


def _check(clip: MotionClip, settings: ItemSettings) -> None:
    num_frames = len(clip.frames)
    needed = -(-(2 * settings.half + 3) // 3)  # Of a window that is reflected.
    problems = []
    if num_frames < needed:
        problems.append(
            f"{num_frames} frames; windows of {2 * settings.half + 1} need {needed} or "
            f"more, or a smaller half than {settings.half}"
        )
    for gap in _both_ways(settings.gaps):
        if gap not in clip.flows:
            known = ", ".join(map(str, sorted(clip.flows))) or "none"
            problems.append(f"no flow over a gap of {gap}; there are {known}")
        elif len(clip.flows[gap]) != num_frames:
            problems.append(
                f"{len(clip.flows[gap])} flows over a gap of {gap} and {num_frames} "
                "frames; expected as many, None where there is none"
            )
    if not np.isfinite(clip.tracks.xy).all():
        problems.append("point tracks with places that are not finite")
    if problems:
        raise UsageError.from_problems(f"{clip.name}: {line}" for line in problems)


def _both_ways(gaps: Sequence[int]) -> list[int]:
    return [way * gap for gap in gaps for way in (1, -1)]


def _stack(
    source: Source[Any],
    fit: Callable[[np.ndarray], np.ndarray],
    empty: np.ndarray,
    folder: pathlib.Path | None,
    skipped: list[SkippedFrame],
) -> tuple[np.ndarray, np.ndarray]:
    """Which frames of a layer there are, (T,), and all of them, fitted."""
    is_there = np.zeros(len(source), bool)
    with FrameStack(len(source), folder) as stack:
        for t in range(len(source)):
            try:
                value = source[t]
            except FrameError as err:
                skipped.append(SkippedFrame(t, str(err)))
                value = None
            is_there[t] = value is not None
            stack.append(empty if value is None else fit(value))
        return is_there, stack.array()


def fitted_flow(flow: np.ndarray, size_hw: Size) -> np.ndarray:
    """A flow (H, W, 2) at another size, in pixels of `UNIT_HW`; 0 where it is NaN."""
    small = LAYERS["flow_fwd"](flow.shape[:2], size_hw, flow)
    height, width = UNIT_HW
    scaled = small * np.array([width / size_hw[1], height / size_hw[0]], np.float32)
    return np.clip(np.nan_to_num(scaled), -LARGEST, LARGEST).astype(np.float32)
