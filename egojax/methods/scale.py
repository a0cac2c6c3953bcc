"""Metres per world unit, from depth in metres."""

from typing import NamedTuple

import jax
import numpy as np

from egojax.data.stream import host_frames
from egojax.methods import observing
from egojax.methods.observing import ObserveSettings, StaticDepth
from egojax.ops import depth as depth_ops
from egojax.ops.camera import project
from egojax.types import Camera, Clip

NUM_FRAMES = 32  # That are looked at; the median of more is hardly another one.
CELLS = 12  # Along each side of an image; the nearest point of each counts.


class MetricScale(NamedTuple):
    """Metres per world unit, and what most frames lie between."""

    value: float
    low: float  # The 10th percentile of the frames.
    high: float  # The 90th.


def nearest_points(points: np.ndarray) -> StaticDepth:
    """Depth at the points of a scene, +inf elsewhere: what they say, and no more.

    A surface made of sparse points bridges what is hollow and lies too near, by a
    quarter in a kitchen. Points that are hidden behind others say too much; of each
    cell of the image the nearest one counts.

    Args:
      points: (P, 3), world units.
    """
    points = np.asarray(points, np.float64)

    def depth(camera: Camera) -> np.ndarray:
        height, width = camera.size_hw
        flat = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), camera)
        image = project(flat, points.astype(np.float32))
        xy, z = np.asarray(image.xy), np.asarray(image.z)
        inside = (z > 0) & (xy >= 0).all(1) & (xy < (width, height)).all(1)
        order = np.flatnonzero(inside)[np.argsort(z[inside])]
        column, row = xy[order].astype(int).T
        cell = row * CELLS // height * CELLS + column * CELLS // width
        _, first = np.unique(cell, return_index=True)
        out = np.full((height, width), np.inf, np.float32)
        out[row[first], column[first]] = z[order[first]]
        return out

    return depth


def frame_scales(
    clip: Clip,
    settings: ObserveSettings,
    static_depth: StaticDepth | None,
    num_frames: int = NUM_FRAMES,
) -> np.ndarray:
    """World units per metre in some frames: the slope that aligns depth to the scene.

    Args:
      clip: With depth in metres, cameras, and a static scene in world units.
      settings: `exclude_segments` counts.
      static_depth: As for `observing.observe_clip`.
      num_frames: At most so many, evenly spaced.

    Returns:
      float64 (n,), NaN for frames without a fit; `ops.depth.metric_scale` makes one
      number of them.

    Source: EgoSeg3D's rescale table, which this stands in for: the median over frames
      of the inverse slopes. Differs: over some frames of a long clip.
    """
    step = -(-clip.num_frames // num_frames)
    some = clip.select(range(0, clip.num_frames, step))
    wanted = ("camera", "depth", "static_depth", "labels")
    layers = [name for name in wanted if name in some.sources]
    return np.array(
        [
            observing.align_frame(settings, static_depth, frame).get("scale", np.nan)
            for frame in host_frames(some, layers, needed=())
        ]
    )


def metric_scale(
    clip: Clip, settings: ObserveSettings, static_depth: StaticDepth | None
) -> MetricScale:
    """Metres per world unit; NaN if no frame tells. See `frame_scales`."""
    scales = frame_scales(clip, settings, static_depth)
    value = depth_ops.metric_scale(scales)
    if np.isnan(value):
        return MetricScale(value, value, value)
    low, high = np.percentile(1.0 / scales[scales > 0], [10, 90])
    return MetricScale(value, float(low), float(high))
