"""The superpixels of a frame, linked where they touch, and votes that spread over them.

A link is strong within one colour and weak across an edge: what is known at some pixels
reaches all of a plain wall, and stops where it ends.
"""

from typing import NamedTuple

import cv2
import numpy as np

from egojax.ops.harmonic import spread_values
from egojax.ops.superpixels import superpixels

BLUR = 0.8  # Pixels, against the noise of a camera.
TINY = 1e-12  # A sum of evidence below it is none.


class FrameNodes(NamedTuple):
    """The superpixels of a frame and the links of those that touch (host)."""

    ids: np.ndarray  # int32 (H, W)
    center_xy: np.ndarray  # float32 (S, 2)
    color: np.ndarray  # float32 (S, 3), CIE Lab.
    edges: np.ndarray  # int64 (E, 2)
    weights: np.ndarray  # float64 (E,)


def frame_nodes(
    image: np.ndarray, size: int, contrast: float, floor: float
) -> FrameNodes:
    """The superpixels of a frame; links are strong within one colour.

    Args:
      image: uint8 (H, W, 3).
      size: Pixels across a superpixel.
      contrast: CIE Lab: a difference of colour that is an edge.
      floor: What of a link is left across the sharpest edge.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), BLUR).astype(np.float32) / 255
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2Lab)
    found = superpixels(lab, size)
    ids, color = np.asarray(found.ids), np.asarray(found.color)
    edges, length = _borders(ids, len(color))
    gap = color[edges[:, 0]] - color[edges[:, 1]]
    alike = np.exp(-(gap * gap).sum(1) / (2 * contrast**2))
    weights = (alike + floor) * length / size
    return FrameNodes(ids, np.asarray(found.center_xy), color, edges, weights)


def spread_votes(nodes: FrameNodes, votes: np.ndarray) -> np.ndarray:
    """Shares of the groups in every superpixel, float64 (S, K), which sum to 1.

    Args:
      nodes: Of the frame.
      votes: (S, K), >= 0: the evidence for each group. Where none reaches, the share is
        that of group 0.
    """
    weight = votes.sum(1)
    shares = votes / np.maximum(weight, TINY)[:, None]
    scores = np.maximum(spread_values(nodes.edges, nodes.weights, weight, shares), 0.0)
    total = scores.sum(1, keepdims=True)
    background = np.eye(votes.shape[1])[:1]
    return np.where(total > TINY, scores / np.maximum(total, TINY), background)


def _borders(ids: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of pieces that touch (E, 2), and along how many sides of pixels (E,)."""
    pairs = [(ids[:, :-1], ids[:, 1:]), (ids[:-1], ids[1:])]
    keys = []
    for one, other in pairs:
        is_border = one != other
        one, other = one[is_border].astype(np.int64), other[is_border]
        keys.append(np.minimum(one, other) * count + np.maximum(one, other))
    key, length = np.unique(np.concatenate(keys), return_counts=True)
    return np.stack([key // count, key % count], 1), length
