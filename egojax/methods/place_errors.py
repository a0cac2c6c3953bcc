"""How far lifted points and depth are from the true geometry."""

from collections.abc import Iterable

import jax
import numpy as np

from egojax.data.stream import host_frames
from egojax.methods.evaluation import TrueFrame
from egojax.metrics import DepthScores
from egojax.ops.camera import project
from egojax.ops.depth import Space, apply_alignment
from egojax.types import Camera, Clip, TrackTable

MAX_DEPTH = 100.0  # World units; what is farther does not count.


def lifting_errors(
    frames: Iterable[TrueFrame],
    table: TrackTable,
    ids: np.ndarray,
    metric_scale: float = 1.0,
) -> dict[str, float]:
    """How far the lifted points are from the objects that they show, in metres.

    Args:
      frames: With `objects`.
      table: With locations.
      ids: (M,) the true object of each row (`true_ids`); negative = none.
      metric_scale: Metres per world unit of the true objects.

    Returns:
      `lift_center_*`: distance to the object's centre; `lift_box_*`: distance to its
      box, 0 inside, where boxes are known. Median and 90th percentile, and the number
      of observations behind them.
    """
    objects = {frame.frame_idx: frame.objects for frame in frames}
    center, outside = [], []
    for n in np.flatnonzero((ids > 0) & np.isfinite(table.location).all(-1)):
        found = objects.get(int(table.frame_idx[n]))
        row = np.flatnonzero(found.ids == ids[n]) if found is not None else []
        if found is None or not len(row):
            continue
        at = table.location[n].astype(float) / metric_scale
        center.append(np.linalg.norm(at - found.centers[row[0]]))
        if found.o2w is not None and found.extent is not None:
            outside.append(_outside(at, found.o2w[row[0]], found.extent[row[0]]))
    out: dict[str, float] = {"lift_count": float(len(center))}
    for name, values in (("lift_center", center), ("lift_box", outside)):
        known = metric_scale * np.array(values)
        known = known[np.isfinite(known)]
        if len(known):
            out[f"{name}_median"] = float(np.median(known))
            out[f"{name}_p90"] = float(np.percentile(known, 90))
    return out


def reprojection_errors(
    frames: Iterable[TrueFrame], table: TrackTable, ids: np.ndarray, cameras: Camera
) -> dict[str, float]:
    """How far true centres fall from the segments that show them, in pixels.

    Args:
      frames: With `objects`.
      table: Of the same rows as the cameras.
      ids: (M,) the true object of each row (`true_ids`); negative = none.
      cameras: (M,), of each row's frame.

    Returns:
      `reprojection_median` and `reprojection_p90`: between a segment's centroid and
      the projection of its object's centre. Rows without a location, and centres
      behind the camera, are left out.
    """
    objects = {frame.frame_idx: frame.objects for frame in frames}
    centers = np.full((len(table), 1, 3), np.nan)
    for n in np.flatnonzero((ids > 0) & np.isfinite(table.location).all(-1)):
        found = objects.get(int(table.frame_idx[n]))
        row = np.flatnonzero(found.ids == ids[n]) if found is not None else []
        if found is not None and len(row):
            centers[n] = found.centers[row[0]]
    kept = np.isfinite(centers).all((1, 2))
    if not kept.any():
        return {}
    some = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32)[kept], cameras)
    image = project(some, centers[kept].astype(np.float32))
    ahead = np.asarray(image.z[:, 0]) > 0
    gap = np.asarray(image.xy[:, 0]) - table.centroid_xy[kept]
    pixels = np.linalg.norm(gap, axis=-1)[ahead]
    if not len(pixels):
        return {}
    return {
        "reprojection_median": float(np.median(pixels)),
        "reprojection_p90": float(np.percentile(pixels, 90)),
    }


def _outside(at: np.ndarray, o2w: np.ndarray, extent: np.ndarray) -> float:
    """Distance of a world point to an oriented box, 0 inside."""
    local = o2w[:3, :3].T @ (at - o2w[:3, 3])
    return float(np.linalg.norm(local - np.clip(local, extent[0], extent[1])))


def depth_errors(
    clip: Clip, scale: np.ndarray, shift: np.ndarray, space: Space
) -> dict[str, float]:
    """AbsRel and delta of the clip's depth, as it came and aligned, over true depth.

    Args:
      clip: With `depth` and `truth.depth`.
      scale: (T,) of every frame.
      shift: (T,)
      space: What the clip's depth is; disparity is inverted for "before".
    """
    if clip.truth is None or clip.truth.depth is None or clip.depth is None:
        return {}
    scores = {"before": DepthScores.empty(), "after": DepthScores.empty()}
    for frame in host_frames(clip, ["depth", "truth.depth"]):
        found, truth = frame.layers.get("depth"), frame.layers.get("truth.depth")
        if found is None or truth is None:
            continue
        t = frame.frame_idx
        fits = {"before": (1.0, 0.0), "after": (scale[t], shift[t])}
        for key, fit in fits.items():
            values = np.asarray(apply_alignment(found, *fit, space=space))
            usable = np.isfinite(values) & (values > 0) & np.isfinite(truth)
            filled, usable = np.where(usable, values, 1.0), np.where(usable, truth, 0.0)
            scores[key] = scores[key].update(filled, usable, max_depth=MAX_DEPTH)
    return {
        f"depth_{name}_{key}": value
        for key, row in scores.items()
        for name, value in row.compute().items()
    }
