"""Region similarity J and contour accuracy F of one mask.

All work happens in the bounding box of the object, which changes no bit of the result:
outside of it both masks are empty and have no boundary.

Source: Perazzi et al. 2016 (DAVIS); Martin et al. 2004; davis2017-evaluation,
metrics.py.
"""

import functools
import math

import cv2
import numpy as np

_LARGEST_KERNEL = 12  # Beyond this radius the distance transform is the faster one.


def region_similarity(
    true_mask: np.ndarray, pred_mask: np.ndarray, void: np.ndarray | None = None
) -> float:
    """J: intersection over union of pixels that are not void; 1 if the union is empty.

    Args:
      true_mask: Booleans (H, W).
      pred_mask: Booleans (H, W).
      void: Booleans (H, W): pixels to leave out.
    """
    return _region(*_cropped(true_mask, pred_mask, void))


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from their right, lower or lower-right neighbour, (H, W).

    In the last row only the right neighbour counts, in the last column only the lower
    one; a mask has no boundary along the edge of the frame.
    """
    s = np.asarray(mask, bool)
    out = np.zeros(s.shape, bool)
    out[:, :-1] = s[:, :-1] != s[:, 1:]
    out[:-1, :] |= s[:-1, :] != s[1:, :]
    out[:-1, :-1] |= s[:-1, :-1] != s[1:, 1:]
    return out


def boundary_radius(size_hw: tuple[int, ...], bound_th: float = 0.008) -> int:
    """Tolerance of F in pixels: a share of the diagonal, or `bound_th` from 1 on."""
    if bound_th >= 1:
        return int(bound_th)
    return math.ceil(bound_th * math.hypot(*size_hw))


def contour_accuracy(
    true_mask: np.ndarray,
    pred_mask: np.ndarray,
    void: np.ndarray | None = None,
    *,
    bound_th: float = 0.008,
) -> float:
    """F: harmonic mean of the shares of boundary pixels within the tolerance.

    Args:
      true_mask: Booleans (H, W).
      pred_mask: Booleans (H, W).
      void: Booleans (H, W): taken out of both masks before their boundaries are found,
        so that the rim of a void region can be a boundary.
      bound_th: See `boundary_radius`.

    Returns:
      1 if neither mask has a boundary; 0 if only one has, or if nothing is near.
    """
    radius = boundary_radius(np.shape(true_mask), bound_th)
    return _contour(*_cropped(true_mask, pred_mask, void), radius)


def region_and_contour(
    true_mask: np.ndarray,
    pred_mask: np.ndarray,
    void: np.ndarray | None = None,
    *,
    bound_th: float = 0.008,
) -> tuple[float, float]:
    """J and F of one object in one go; arguments as in `contour_accuracy`."""
    radius = boundary_radius(np.shape(true_mask), bound_th)
    truth, pred = _cropped(true_mask, pred_mask, void)
    return _region(truth, pred), _contour(truth, pred, radius)


def _region(truth: np.ndarray, pred: np.ndarray) -> float:
    union = np.count_nonzero(truth | pred)
    return np.count_nonzero(truth & pred) / union if union else 1.0


def _contour(truth: np.ndarray, pred: np.ndarray, radius: int) -> float:
    true_edge, pred_edge = boundary_map(truth), boundary_map(pred)
    num_true, num_pred = np.count_nonzero(true_edge), np.count_nonzero(pred_edge)
    if num_true == 0 or num_pred == 0:
        return float(num_true == num_pred)
    precision = np.count_nonzero(pred_edge & _near(true_edge, radius)) / num_pred
    recall = np.count_nonzero(true_edge & _near(pred_edge, radius)) / num_true
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def _cropped(
    true_mask: np.ndarray, pred_mask: np.ndarray, void: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Both masks without void, cut to their box and one pixel around it."""
    truth, pred = np.asarray(true_mask, bool), np.asarray(pred_mask, bool)
    if void is not None:
        truth, pred = truth & ~void, pred & ~void
    x, y, width, height = cv2.boundingRect((truth | pred).view(np.uint8))
    rows = slice(max(y - 1, 0), y + height + 1)
    cols = slice(max(x - 1, 0), x + width + 1)
    return truth[rows, cols], pred[rows, cols]


def _near(edge: np.ndarray, radius: int) -> np.ndarray:
    """Pixels within `radius` of an edge pixel; both ways are exact."""
    if radius <= _LARGEST_KERNEL:
        return cv2.dilate(edge.view(np.uint8), _disk(radius)).view(bool)
    distance = cv2.distanceTransform(
        (~edge).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    # Squared distances are integers, so half a pixel squared keeps clear of rounding.
    return distance * distance < radius * radius + 0.5


@functools.cache
def _disk(radius: int) -> np.ndarray:
    across = np.arange(-radius, radius + 1) ** 2
    return (across[:, None] + across[None, :] <= radius * radius).astype(np.uint8)
