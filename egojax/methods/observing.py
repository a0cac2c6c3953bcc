"""Reads a clip once and keeps what tracking needs of it: the `observe` stage.

For every frame: the alignment of its depth to the static scene, and for every kept
segment its place, depth and looks. A frame that cannot be read is left out and told.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from egojax.data import observations
from egojax.data.observations import ObservationChunk
from egojax.data.stream import HostFrame, host_frames, partly
from egojax.errors import FrameError
from egojax.methods import appearance, lifting
from egojax.methods.lifting import FrameObservations, LiftMode, Selection
from egojax.methods.static_scene import CELLS, StaticDepth
from egojax.ops import depth as depth_ops
from egojax.types import Camera, Clip, SegmentFeatures, SkippedFrame


@dataclasses.dataclass(frozen=True)
class ObserveSettings:
    """How segments become observations."""

    selection: Selection
    mode: LiftMode = "median"
    erode: int = 2
    features: str = "auto"  # auto | file | descriptor | none
    align: bool = True
    space: depth_ops.Space = "depth"
    exclude_segments: bool = True


FEW = (
    CELLS**2
)  # Pixels of static depth, of which the points of a scene may give so many.
LEAST = 12  # Of them, at least, that an alignment takes.
SEGMENTS = ("labels", "boxes")  # Layers without which a frame has nothing to track.


def layers_of(clip: Clip, settings: ObserveSettings) -> tuple[str, ...]:
    """The layers of the clip that observing it needs."""
    wanted = ["labels", "boxes", "segments", "depth", "static_depth", "camera"]
    if feature_kind(clip, settings) == "file":
        wanted.append("features")
    elif feature_kind(clip, settings) == "descriptor":
        wanted.append("frames")
    return tuple(name for name in wanted if name in clip.sources)


def feature_kind(clip: Clip, settings: ObserveSettings) -> str:
    """Where features come from: those of files before those that we compute."""
    if clip.labels is None:
        return "none"
    if settings.features != "auto":
        return settings.features
    if clip.features is not None:
        return "file"
    return "descriptor" if clip.frames is not None else "none"


def observe_clip(
    clip: Clip,
    settings: ObserveSettings,
    static_depth: StaticDepth | None,
    *,
    start: int = 0,
    chunk: int = 64,
    read_ahead: int = 8,
) -> Iterator[ObservationChunk]:
    """Yields the observations of the clip, `chunk` frames at a time.

    Args:
      clip: With labels; with depth and cameras if there are to be locations.
      settings: See there.
      static_depth: Renders the static scene; None if the clip has no mesh. A clip with
        a source of that name is read instead.
      start: First frame, for a run that goes on.
      chunk: Frames a chunk.
      read_ahead: Frames read in advance.
    """
    layers, width = layers_of(clip, settings), feature_width(clip, settings)
    batch: list[HostFrame] = []
    for frame in host_frames(clip, layers, read_ahead, start=start, needed=SEGMENTS):
        batch.append(frame)
        if len(batch) == chunk:
            yield _observe_batch(clip, settings, static_depth, batch, width)
            batch = []
    if batch:
        yield _observe_batch(clip, settings, static_depth, batch, width)


def _observe_batch(
    clip: Clip,
    settings: ObserveSettings,
    static_depth: StaticDepth | None,
    batch: list[HostFrame],
    width: int,
) -> ObservationChunk:
    rows, skipped = [], []
    frames: list[dict[str, Any]] = []
    for frame in batch:
        frames.append(_frame_row(frame.layers.get("camera")))
        told = [frame.skipped]
        if frame.skipped is None or frame.layers:
            found, lacks = _segments_of(clip, settings, frame, width)
            if found is not None:
                rows.append((frame.frame_idx, found))
            frames[-1] |= align_frame(settings, static_depth, frame)
            told.append(partly(frame.frame_idx, lacks))
        reasons = [one.reason for one in told if one is not None]
        if reasons:
            skipped.append(SkippedFrame(frame.frame_idx, "; ".join(reasons)))
    return ObservationChunk(
        start=batch[0].frame_idx,
        segments=columns(rows),
        frames={key: np.stack([f[key] for f in frames]) for key in frames[0]},
        skipped=tuple(skipped),
    )


def _segments_of(
    clip: Clip, settings: ObserveSettings, frame: HostFrame, width: int
) -> tuple[FrameObservations | None, dict[str, str]]:
    """The kept segments, and why they have no looks, if others have some."""
    labels, boxes = frame.layers.get("labels"), frame.layers.get("boxes")
    if labels is None:
        found = None
        if boxes is not None:
            found = lifting.observe_boxes(boxes, settings.selection)
        return found, {}
    observe = functools.partial(
        lifting.observe,
        labels,
        frame.layers.get("segments"),
        frame.layers.get("depth"),
        selection=settings.selection,
        mode=settings.mode,
        erode=settings.erode,
    )
    lacks = {}
    try:
        found = observe(_features_of(clip, settings, frame, width))
    except FrameError as err:
        found, lacks = observe(None), {"appearance": str(err)}
    if not len(found.segment_id):
        lacks = {}
    if not found.feature.shape[1]:
        blank = np.zeros((len(found.segment_id), width), np.float32)
        found = found._replace(feature=blank)
    return found, lacks


def _features_of(
    clip: Clip, settings: ObserveSettings, frame: HostFrame, width: int
) -> SegmentFeatures | None:
    """None where the clip has nothing, or nothing readable, for this frame.

    Raises:
      FrameError: features of another length than the clip's.
    """
    kind = feature_kind(clip, settings)
    found = frame.layers.get("frames" if kind == "descriptor" else "features")
    if kind == "none" or found is None:
        return None
    if kind == "descriptor":
        return appearance.describe(found, frame.layers["labels"])
    if len(found.ids) and found.values.shape[1] != width:
        raise FrameError(
            f"its features have {found.values.shape[1]} numbers, those of the clip's "
            f"first frame with features {width}"
        )
    return found


def feature_width(clip: Clip, settings: ObserveSettings) -> int:
    """Numbers of a feature; where they come from files, of the first one with any."""
    kind = feature_kind(clip, settings)
    if kind == "descriptor":
        return appearance.DIM
    for t in range(clip.num_frames if kind == "file" else 0):
        try:
            found = clip.features[t] if clip.features is not None else None
        except FrameError:
            continue
        if found is not None and len(found.ids):
            return found.values.shape[1]
    return 0


def _frame_row(camera: Camera | None) -> dict[str, Any]:
    known = camera is not None
    lens = np.zeros(16)
    if camera is not None and camera.distortion is not None:
        lens[: camera.distortion.shape[-1]] = camera.distortion
    return {
        "scale": np.float64(np.nan),
        "shift": np.float64(np.nan),
        "has_camera": np.bool_(known),
        "intrinsics": np.asarray(camera.intrinsics if camera else np.eye(3), float),
        "w2c": np.asarray(camera.w2c if camera else np.eye(4), float),
        "distortion": lens,
    }


def align_frame(
    settings: ObserveSettings, static_depth: StaticDepth | None, frame: HostFrame
) -> dict[str, Any]:
    """Scale and shift of the frame's depth; nothing where there is nothing to fit."""
    camera, depth = frame.layers.get("camera"), frame.layers.get("depth")
    static = frame.layers.get("static_depth")
    if static is None and static_depth is not None and camera is not None:
        static = static_depth(camera)
    if not settings.align or depth is None or static is None:
        return {}
    labels = frame.layers.get("labels")
    exclude = np.zeros(depth.shape, bool)
    if settings.exclude_segments and labels is not None:
        exclude = labels > 0
    fit = depth_ops.align(depth, static, exclude, space=settings.space)
    if settings.space != "official" and not _is_told(
        depth, static, exclude, fit, settings.space
    ):
        return {}
    return {"scale": np.float64(fit.scale), "shift": np.float64(fit.shift)}


def _is_told(
    depth: np.ndarray,
    static: np.ndarray,
    exclude: np.ndarray,
    fit: depth_ops.Alignment,
    space: depth_ops.Space,
) -> bool:
    """Whether pixels, where they are few, say what the scale and the shift are.

    Sparse points may: unless they are very few, or a line through them explains hardly
    more than one depth for all, as for points on a wall ahead.
    """
    used = np.isfinite(static) & np.isfinite(depth) & ~exclude
    if used.sum() > FEW:
        return True
    if used.sum() < LEAST or not fit.scale > 0:
        return False
    line = np.full(1, fit.scale, np.float32), np.full(1, fit.shift, np.float32)
    aligned = depth_ops.apply_alignment(depth[None], *line, space=space)
    off = np.abs(np.asarray(aligned)[0][used] - static[used])
    spread = np.abs(static[used] - np.median(static[used]))
    return bool(np.median(off) < 0.5 * np.median(spread))


def columns(rows: list[tuple[int, FrameObservations]]) -> dict[str, np.ndarray]:
    """Observations of frames, one below the other, with their `frame_idx`."""
    empty = lifting.observe(
        np.zeros((1, 1), np.int32), None, None, selection=Selection()
    )
    counts = [len(found.segment_id) for _, found in rows]
    table = {
        key: observations.stack(
            [getattr(found, key) for _, found in rows or [(0, empty)]]
        )
        for key in FrameObservations._fields
    }
    table["frame_idx"] = np.repeat([t for t, _ in rows], counts).astype(np.int32)
    return table


def lens_of(clip: Clip) -> tuple[str, tuple[int, int]]:
    """The lens of the clip's cameras (that of the first frame that has one)."""
    if clip.camera is not None:
        for camera in clip.camera:
            if camera is not None:
                return camera.lens, camera.size_hw
    return "pinhole", clip.size_hw
