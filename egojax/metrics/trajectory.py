"""Camera trajectories: absolute and relative pose errors after a similarity alignment.

Source: Umeyama 1991; Sturm et al. 2012 (TUM RGB-D benchmark).
"""

from typing import NamedTuple

import numpy as np


class Similarity(NamedTuple):
    """y = scale * rotation @ x + translation."""

    scale: float
    rotation: np.ndarray  # float64 (3, 3), proper.
    translation: np.ndarray  # float64 (3,)


def align_similarity(
    source: np.ndarray, target: np.ndarray, *, with_scale: bool = True
) -> Similarity:
    """The similarity that brings points nearest to others, least squares.

    Args:
      source: (n, 3).
      target: (n, 3), in the same order.
      with_scale: False keeps the scale at 1.

    Raises:
      ValueError: There are fewer than 3 points, or the source is a single place.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if len(source) < 3 or source.shape != target.shape:
        raise ValueError(
            f"points {source.shape} and {target.shape}, expected two of (n >= 3, 3)"
        )
    center_s, center_t = source.mean(axis=0), target.mean(axis=0)
    a, b = source - center_s, target - center_t
    spread = np.sum(a * a)
    if spread == 0:
        raise ValueError("all source points are in one place, so there is no scale")
    u, singular, vt = np.linalg.svd(b.T @ a)
    flip = np.ones(3)
    flip[2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * flip) @ vt
    scale = float(np.sum(singular * flip) / spread) if with_scale else 1.0
    return Similarity(scale, rotation, center_t - scale * rotation @ center_s)


def trajectory_errors(
    pred_c2w: np.ndarray, true_c2w: np.ndarray, *, with_scale: bool = True
) -> dict[str, float]:
    """ATE and RPE of a camera path.

    Args:
      pred_c2w: (T, 4, 4), any world.
      true_c2w: (T, 4, 4), metres.
      with_scale: Whether the alignment may scale.

    Returns:
      `ATE`: root mean square of positions after alignment, metres. `RPE_translation`
      (metres) and `RPE_rotation` (degrees): root mean square of the error of the motion
      between consecutive frames. `scale`: of the alignment.
    """
    pred = np.array(pred_c2w, np.float64)
    truth = np.asarray(true_c2w, np.float64)
    fit = align_similarity(pred[:, :3, 3], truth[:, :3, 3], with_scale=with_scale)
    pred[:, :3, 3] = fit.scale * pred[:, :3, 3] @ fit.rotation.T + fit.translation
    pred[:, :3, :3] = fit.rotation @ pred[:, :3, :3]
    off = pred[:, :3, 3] - truth[:, :3, 3]
    steps = [np.linalg.inv(path[:-1]) @ path[1:] for path in (truth, pred)]
    error = np.linalg.inv(steps[0]) @ steps[1]
    skew = np.stack(
        [
            error[:, 2, 1] - error[:, 1, 2],
            error[:, 0, 2] - error[:, 2, 0],
            error[:, 1, 0] - error[:, 0, 1],
        ]
    )
    # The arc tangent keeps small angles that an arc cosine would round away.
    angle = np.arctan2(
        np.linalg.norm(skew, axis=0), np.trace(error[:, :3, :3], axis1=1, axis2=2) - 1
    )
    return {
        "ATE": _rms(off),
        "RPE_translation": _rms(error[:, :3, 3]),
        "RPE_rotation": float(np.rad2deg(np.sqrt(np.mean(angle**2)))),
        "scale": fit.scale,
    }


def _rms(vectors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.sum(vectors**2, axis=-1))))
