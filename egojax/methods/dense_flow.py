"""Optical flow between two images without learned weights, and where to trust it.

Source: Kroeger et al. 2016 (fast optical flow using dense inverse search), as OpenCV
has it; Sundaram et al. 2010 (dense point trajectories) for motion boundaries.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

# An image and a later one, uint8 (H, W, 3) -> float32 (H, W, 2), pixels to the later.
FlowMethod = Callable[[np.ndarray, np.ndarray], np.ndarray]

BLUR = 0.8  # Pixels: of images before they are compared.
# Of OpenCV's search, over its medium preset: what the procedural world's true flow is
# met best with, at full resolution: 65 ms for 432 x 240 pixels.
REFINEMENTS, SMOOTHNESS = 20, 40.0
LEAST_SIDE = 16  # Pixels, of OpenCV's patches at its finest scale.
COLUMNS = 512  # In which points are looked up.
STEEP, STEEP_FLOOR = 0.01, 0.02  # Of squared slopes at a motion boundary.


def inverse_search(image: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Flow by dense inverse search, float32 (H, W, 2): where each pixel goes.

    Args:
      image, later: uint8 (H, W, 3), of one size.

    Raises:
      ValueError: sizes differ, or are below `LEAST_SIDE`.
    """
    if image.shape != later.shape:
        raise ValueError(f"images of {image.shape} and {later.shape}")
    if min(image.shape[:2]) < LEAST_SIDE:
        raise ValueError(
            f"images of {image.shape}; expected {LEAST_SIDE} pixels a side"
        )
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    search.setVariationalRefinementIterations(REFINEMENTS)
    search.setVariationalRefinementAlpha(SMOOTHNESS)
    return search.calc(_gray(image), _gray(later), None)


FLOWS: dict[str, FlowMethod] = {"dis": inverse_search}


def _gray(image: np.ndarray) -> np.ndarray:
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    return cv2.GaussianBlur(gray, (0, 0), BLUR)


def motion_boundary(flow: np.ndarray) -> np.ndarray:
    """Where flow changes fast for its length, bool (H, W): no place for points."""
    slopes = [
        cv2.Sobel(flow, cv2.CV_32F, *way, ksize=3, scale=1 / 8)
        for way in ((1, 0), (0, 1))
    ]
    square = sum((slope**2).sum(-1) for slope in slopes)
    return square > STEEP * (flow**2).sum(-1) + STEEP_FLOOR


def lookup(field: np.ndarray, points_xy: np.ndarray) -> np.ndarray:
    """Values of a float32 field (H, W, C) at pixels (N, 2), (N, C); borders repeat."""
    if not len(points_xy):
        return np.zeros((0, field.shape[-1]), np.float32)
    # (0.5, 0.5) is the centre of the first pixel; OpenCV counts centres from 0, and
    # knows no image of more than 32,766 rows.
    rows = -(-len(points_xy) // COLUMNS)
    at = np.zeros((2, rows * COLUMNS), np.float32)
    at[:, : len(points_xy)] = np.asarray(points_xy, np.float32).T - np.float32(0.5)
    x, y = at.reshape(2, rows, COLUMNS)
    border = cv2.BORDER_REPLICATE
    found = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=border)
    return found.reshape(rows * COLUMNS, field.shape[-1])[: len(points_xy)]


def under(image: np.ndarray, points_xy: np.ndarray) -> np.ndarray:
    """Values of an image (H, W) in the pixels of points, (N,); borders repeat."""
    high, wide = image.shape
    column, row = np.floor(points_xy).astype(int).T
    return image[row.clip(0, high - 1), column.clip(0, wide - 1)]
