"""What a good engineer would try first for masks of what moves: two baselines.

Both take the motion that most of the image shares out of the optical flow between two
frames, and look at what is left, frame by frame: `flow_magnitude` cuts its length at a
threshold, `flow_clusters` clusters it along with the position, takes the cluster that
holds most of the image's border for the background, and lets GrabCut draw the border of
the rest.

Source: Otsu 1979 (threshold); Rother et al. 2004 (GrabCut), both as OpenCV has them.
"""

import dataclasses
from typing import Any

import cv2
import numpy as np
from scipy import ndimage
from scipy.cluster import vq

from egojax.ops.dominant_flow import dominant_residual

LEAST = 0.5  # Pixels: a residual below it is no motion.
LEVELS = 255  # Of lengths, for the threshold.
LONGEST = 99.5  # Percentile of lengths that is the highest level.
STEP = 4  # Pixels from one that is clustered to the next.
ROUNDS = 10  # Of k-means.
CUTS = 3  # Of GrabCut.
REACH = 0.02  # Of the image's width: how far it may move an outline.
LEAST_PIXELS = 16  # Inside and outside, which GrabCut tells colours of.
BORDER = 2  # Pixels at the border of the image that tell the background.


@dataclasses.dataclass(frozen=True)
class ClusterSettings:
    """How flow is clustered."""

    count: int = 3  # Clusters, the background's among them; >= 2.
    position: float = 1.0  # Weight of places, in widths, beside flow, in its spread.


def global_residual(flow: np.ndarray) -> np.ndarray:
    """Flow without the image's dominant motion, a robust quadratic fit: (H, W, 2).

    Args:
      flow: float32 (H, W, 2), pixels; finite.
    """
    high, wide = flow.shape[:2]
    y, x = np.mgrid[:high, :wide].astype(np.float32) + np.float32(0.5)
    start = np.stack([x.ravel(), y.ravel()], -1)
    tracks = np.stack([start + flow.reshape(-1, 2), start])  # The middle is the last.
    found = dominant_residual(tracks, np.ones(len(start), np.float32))[0]
    return np.asarray(found).reshape(flow.shape)


def flow_magnitude(flow: np.ndarray) -> np.ndarray:
    """What does not move with the image, int32 (H, W): 1 where it does not, else 0.

    The residual of the global fit is longer there than Otsu's threshold, and than
    `LEAST`.

    Args:
      flow: float32 (H, W, 2), pixels; finite.
    """
    length = np.linalg.norm(global_residual(flow), axis=-1)
    top = max(float(np.percentile(length, LONGEST)), 1e-6)
    levels = np.clip(length / top * LEVELS, 0, LEVELS).astype(np.uint8)
    level, _ = cv2.threshold(levels, 0, LEVELS, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    above = length > max((level + 1) / LEVELS * top, LEAST)
    return above.astype(np.int32)


def flow_clusters(
    image: np.ndarray,
    flow: np.ndarray,
    before: np.ndarray | None = None,
    settings: ClusterSettings | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of flow and place, cut out along the image's edges.

    Args:
      image: uint8 (H, W, 3).
      flow: float32 (H, W, 2), pixels; finite.
      before: Centres of the frame before, which those of this one start from, so that
        clusters keep their numbers; None = drawn anew.
      settings: See there.
      seed: Of the draw, and of GrabCut.

    Returns:
      Labels int32 (H, W), 0 = background, and the centres float64 (K, 4): residual in
      pixels and place in widths. Without motion beyond `LEAST` all is background.

    Raises:
      ValueError: sizes differ, or fewer than two clusters.
    """
    settings = settings or ClusterSettings()
    if image.shape[:2] != flow.shape[:2] or settings.count < 2:
        raise ValueError(
            f"an image {image.shape}, flow {flow.shape}, {settings.count} clusters"
        )
    residual = global_residual(flow)
    cluster, centers = _clusters(residual, before, settings, seed)
    background = _of_border(cluster, settings.count)
    length = np.linalg.norm(centers[:, :2] - centers[background, :2], axis=-1)
    labels = np.zeros(cluster.shape, np.int32)
    rest = [k for k in range(settings.count) if k != background]
    for label, k in enumerate(rest, 1):
        if length[k] > LEAST:
            labels[cluster == k] = label
    return _cut_out(image, labels, seed), centers


def _clusters(
    residual: np.ndarray,
    before: np.ndarray | None,
    settings: ClusterSettings,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each pixel (H, W), and the centres (K, 4)."""
    high, wide = residual.shape[:2]
    y, x = (np.mgrid[:high, :wide] + 0.5) / wide
    points = np.concatenate([residual, np.stack([x, y], -1)], -1).astype(np.float64)
    flow_spread = max(float(residual.std()), LEAST)
    scale = np.array([1 / flow_spread] * 2 + [settings.position] * 2)
    some = points[STEP // 2 :: STEP, STEP // 2 :: STEP].reshape(-1, 4)
    if before is None:
        centers = _first_centers(some, scale, settings.count, seed)
    else:
        centers = before.copy()
    for _ in range(ROUNDS):
        which, _ = vq.vq(some * scale, centers * scale)
        for k in np.unique(which):
            centers[k] = some[which == k].mean(0)
    which, _ = vq.vq((points * scale).reshape(-1, 4), centers * scale)
    return which.reshape(high, wide), centers


def _first_centers(
    points: np.ndarray, scale: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Points (K, 4) that lie far apart, as a rule: of k-means++."""
    rng = np.random.default_rng(seed)
    centers = points[[rng.integers(len(points))]]
    while len(centers) < count:
        _, gap = vq.vq(points * scale, centers * scale)
        share = np.cumsum(gap**2 + 1e-12)
        row = np.searchsorted(share, rng.uniform(0, share[-1]))
        centers = np.concatenate([centers, points[[row]]])
    return centers


def _of_border(cluster: np.ndarray, count: int) -> int:
    """The cluster that has most of the image's border."""
    rim = np.ones(cluster.shape, bool)
    rim[BORDER:-BORDER, BORDER:-BORDER] = False
    return int(np.bincount(cluster[rim], minlength=count).argmax())


def _cut_out(image: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """The labels, their outer border drawn by GrabCut; those inside as they are."""
    moves = labels > 0
    if min(moves.sum(), (~moves).sum()) < LEAST_PIXELS:
        return labels
    reach = REACH * image.shape[1]
    # What GrabCut adds is of the label that is nearest.
    found: Any = ndimage.distance_transform_edt(~moves, return_indices=True)
    outside, (row, column) = found
    mask = np.where(moves, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[ndimage.distance_transform_edt(moves) > reach] = cv2.GC_FGD
    mask[outside > reach] = cv2.GC_BGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(seed)
    bgr = np.ascontiguousarray(image[..., ::-1])
    cv2.grabCut(bgr, mask, (0, 0, 0, 0), *models, CUTS, cv2.GC_INIT_WITH_MASK)
    kept = (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
    return np.where(kept, labels[row, column], 0).astype(np.int32)
