"""From 2D segments to observations: one 3D point for every segment of every frame.

Two steps, so that the video is read once. `observe` reads one frame and notes, for each
kept segment, its centroid and its depth in the units of the given depth map. `lift`
turns those into world points once the alignment of all frames is known: an affine map
of depth (or of disparity) commutes with the pick of one pixel and with the median.

Pixels are (x, y) with the first pixel's centre at (0.5, 0.5); depths are camera z.
"""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egojax.errors import FrameError
from egojax.ops import camera as camera_ops
from egojax.ops import segments as seg
from egojax.types import Boxes, Camera, SegmentFeatures, Segments

LiftMode = Literal["median", "centroid"]


class FrameObservations(NamedTuple):
    """The kept segments of one frame, a row each, by ascending id."""

    segment_id: np.ndarray  # int64 (n,)
    category: np.ndarray  # int32 (n,); -1 = unknown.
    score: np.ndarray  # float32 (n,)
    area: np.ndarray  # int32 (n,), pixels.
    centroid_xy: np.ndarray  # float32 (n, 2): the pixel that is lifted.
    box_xyxy: np.ndarray  # float32 (n, 4), outer corners.
    raw_depth: np.ndarray  # float32 (n,), in the depth map's own units; NaN = none.
    feature: np.ndarray  # float32 (n, D); D = 0 where there are none.


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which segments take part."""

    min_pixels: int = 500  # An area of more than this many pixels.
    ignored: frozenset[int] = frozenset()  # Categories.


def observe(
    labels: np.ndarray,
    segments: Segments | None,
    depth: np.ndarray | None,
    features: SegmentFeatures | None = None,
    *,
    selection: Selection,
    mode: LiftMode = "median",
    erode: int = 2,
) -> FrameObservations:
    """Measures the segments of one frame.

    Args:
      labels: int (H, W), 0 = background.
      segments: Categories and scores; segments it does not list are of category -1.
      depth: float (H, W) or None; what is not finite is not used.
      features: Rows for (at least) the kept segments, or None.
      selection: Which segments are kept.
      mode: "median": the median depth over the mask eroded by `erode` pixels (over
        the whole mask where nothing is left), lifted at the mask's pixel nearest to
        the centroid. "centroid" (published): the depth at the truncated centroid,
        which may lie outside the mask, and that integer position without half a pixel.
      erode: Pixels; only for "median".

    Raises:
      FrameError: a kept segment has no feature although `features` are given.

    Source: EgoSeg3D, scripts/tracking.py (load_instances, calc_instances).
    """
    ids, ranked = seg.rank_labels(labels)
    area, centroid, official, box = seg.measure_ranked(ranked, len(ids))
    category, score = _look_up(ids, segments)
    kept = (area > selection.min_pixels) & ~np.isin(category, list(selection.ignored))
    if mode == "centroid":
        xy = official.astype(np.float64)
        values = _at_pixel(depth, official)
    else:
        inside = seg.nearest_inside(ranked, centroid, box)
        xy = inside + 0.5
        values = _medians(depth, ranked, len(ids), erode)
    return FrameObservations(
        segment_id=ids[kept],
        category=category[kept],
        score=score[kept],
        area=area[kept].astype(np.int32),
        centroid_xy=xy[kept].astype(np.float32),
        box_xyxy=box[kept].astype(np.float32),
        raw_depth=values[kept],
        feature=_features(ids[kept], features),
    )


def observe_boxes(boxes: Boxes, selection: Selection) -> FrameObservations:
    """Observations of boxes in view; they have no depth and no looks."""
    size = boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]
    area = np.nan_to_num(size[:, 0] * size[:, 1])
    kept = np.flatnonzero((boxes.visibility > 0) & (area > selection.min_pixels))
    kept = kept[np.argsort(boxes.ids[kept])]
    box = boxes.xyxy[kept].astype(np.float32)
    return FrameObservations(
        segment_id=boxes.ids[kept],
        category=np.full(len(kept), -1, np.int32),
        score=np.ones(len(kept), np.float32),
        area=area[kept].astype(np.int32),
        centroid_xy=(box[:, :2] + box[:, 2:]) / 2,
        box_xyxy=box,
        raw_depth=np.full(len(kept), np.nan, np.float32),
        feature=np.zeros((len(kept), 0), np.float32),
    )


def _look_up(
    ids: np.ndarray, segments: Segments | None
) -> tuple[np.ndarray, np.ndarray]:
    category = np.full(len(ids), -1, np.int32)
    score = np.ones(len(ids), np.float32)
    if segments is None or not len(segments.ids):
        return category, score
    order = np.argsort(segments.ids)
    row = np.searchsorted(segments.ids, ids, sorter=order)
    row = order[np.minimum(row, len(order) - 1)]
    known = segments.ids[row] == ids
    category[known] = segments.category[row[known]]
    score[known] = segments.score[row[known]]
    return category, score


def _at_pixel(depth: np.ndarray | None, xy: np.ndarray) -> np.ndarray:
    if depth is None:
        return np.full(len(xy), np.nan, np.float32)
    values = depth[xy[:, 1], xy[:, 0]].astype(np.float32)
    return np.where(np.isfinite(values), values, np.float32(np.nan))


def _medians(
    depth: np.ndarray | None, ranked: np.ndarray, num: int, erode: int
) -> np.ndarray:
    if depth is None:
        return np.full(num, np.nan, np.float32)
    finite = np.isfinite(depth)
    inner, _ = seg.medians(depth, seg.erode(ranked, erode), num, finite)
    if erode and np.isnan(inner).any():
        whole, _ = seg.medians(depth, ranked, num, finite)
        inner = np.where(np.isnan(inner), whole, inner)
    return inner.astype(np.float32)


def _features(ids: np.ndarray, features: SegmentFeatures | None) -> np.ndarray:
    if features is None:
        return np.zeros((len(ids), 0), np.float32)
    row = {int(key): n for n, key in enumerate(features.ids)}
    missing = [int(i) for i in ids if int(i) not in row]
    if missing:
        raise FrameError(f"segments {missing} have no feature")
    width = features.values.shape[1] if features.values.ndim == 2 else 0
    rows = [row[int(i)] for i in ids]
    return features.values[rows].reshape(len(ids), width).astype(np.float32)


def lift(
    xy: np.ndarray,
    depth: np.ndarray,
    cameras: Camera,
    metric_scale: float = 1.0,
) -> np.ndarray:
    """World points of pixels.

    Args:
      xy: (M, 2), pixels.
      depth: (M,), camera z in world units; NaN or infinite = unknown.
      cameras: M cameras, one for each pixel.
      metric_scale: Metres per world unit.

    Returns:
      float32 (M, 3), metres; NaN where the depth is unknown.

    Source: EgoSeg3D, scripts/tracking.py.
    """
    if not len(xy):
        return np.zeros((0, 3), np.float32)
    known = np.isfinite(depth)
    filled = np.where(known, depth, 1.0).astype(np.float32)
    size = 1 << max(0, len(xy) - 1).bit_length()  # Few sizes, few compilations.
    rows = np.minimum(np.arange(size), len(xy) - 1)
    padded = jax.tree.map(lambda leaf: jnp.asarray(leaf[rows], jnp.float32), cameras)
    points = camera_ops.unproject(
        padded, jnp.asarray(xy[rows], jnp.float32)[:, None], filled[rows][:, None]
    )
    points = np.asarray(points)[: len(xy), 0] * np.float32(metric_scale)
    return np.where(known[:, None], points, np.float32(np.nan))
