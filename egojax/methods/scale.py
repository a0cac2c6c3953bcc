"""Metres per world unit, from depth in metres."""

from typing import NamedTuple

import numpy as np

from egojax.data.stream import host_frames
from egojax.methods import observing
from egojax.methods.observing import ObserveSettings
from egojax.methods.static_scene import StaticDepth
from egojax.ops import depth as depth_ops
from egojax.types import Clip

AGREE = 2.0  # Largest ratio of the scales that most frames say.
NUM_FRAMES = 32  # That are looked at; the median of more is hardly another one.


class MetricScale(NamedTuple):
    """Metres per world unit, and what most frames lie between; NaN = no frame tells."""

    value: float  # NaN too where frames disagree.
    low: float  # The 10th percentile of the frames.
    high: float  # The 90th.


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
    """Metres per world unit; see `frame_scales`.

    Frames disagree, and tell nothing, if most of them lie further apart than `AGREE`.
    """
    scales = frame_scales(clip, settings, static_depth)
    value = depth_ops.metric_scale(scales)
    if np.isnan(value):
        return MetricScale(value, value, value)
    low, high = np.percentile(1.0 / scales[scales > 0], [10, 90])
    value = value if high <= AGREE * low else float("nan")
    return MetricScale(value, float(low), float(high))
