"""Label maps on the host: ranks, statistics, medians, erosion, other ids.

A label map has one integer a pixel, 0 for background; ids may be any positive integers
(official ones go up to 2^24). `rank_labels` makes dense ranks 1..n of them, ascending;
what is measured has a row per rank, row r - 1 for rank r, and zeros where a rank has no
pixels. Pixels are (x, y), the centre of the first is (0.5, 0.5).
"""

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np


class SegmentTable(NamedTuple):
    """Where the segments of a frame lie, a row per rank."""

    area: np.ndarray  # int64 (n,)
    centroid_xy: np.ndarray  # float64 (n, 2), mean of the pixel centres.
    official_xy: np.ndarray  # int64 (n, 2), truncated mean of indices (column, row).
    box_xyxy: np.ndarray  # int64 (n, 4), outer corners.


def rank_labels(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids of a map (ascending, without 0) and the map of ranks 0..n.

    Raises:
      ValueError: a label is negative.
    """
    flat = labels.ravel()
    # Neighbours repeat: what is sorted is one pixel of each run of equal ones.
    first = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = np.concatenate([[0], first])[: flat.size]
    ids, rank = np.unique(flat[first], return_inverse=True)
    if ids.size and ids[0] < 0:
        raise ValueError(f"labels must not be negative, found {ids[0]}")
    if ids.size and ids[0] > 0:
        rank = rank + 1
    lengths = np.diff(first, append=flat.size)
    ranked = np.repeat(rank.astype(np.int32), lengths).reshape(labels.shape)
    return ids[ids > 0].astype(np.int64), ranked


def renamed(labels: np.ndarray, names: Mapping[int, int]) -> np.ndarray:
    """The map with other ids, int32; those without a new one become background."""
    ids, ranked = rank_labels(labels)
    return np.array([0, *(names.get(i, 0) for i in ids.tolist())], np.int32)[ranked]


def measure_ranked(ranked: np.ndarray, num_segments: int) -> SegmentTable:
    """Area, centroids and box of every segment of a map of ranks, in one pass.

    Source: EgoSeg3D's observation, centroid truncated (`official_xy`). It may fall
      outside a mask that is not convex; see `nearest_inside`.
    """
    height, width = ranked.shape
    size = num_segments + 1
    columns = np.arange(width, dtype=np.int64) + ranked.astype(np.int64) * width
    rows = np.arange(height, dtype=np.int64)[:, None] + ranked.astype(np.int64) * height
    per_column = np.bincount(columns.ravel(), minlength=size * width)
    per_row = np.bincount(rows.ravel(), minlength=size * height)
    per_column = per_column.reshape(size, width)[1:]
    per_row = per_row.reshape(size, height)[1:]
    area = per_column.sum(1)
    total = np.stack(
        [per_column @ np.arange(width), per_row @ np.arange(height)], -1
    ).reshape(num_segments, 2)
    safe = np.maximum(area, 1)[:, None]
    there = area[:, None] > 0
    sides = [_extent(per_column), _extent(per_row)]
    box = np.stack([sides[0][0], sides[1][0], sides[0][1], sides[1][1]], -1)
    return SegmentTable(
        area=area,
        centroid_xy=np.where(there, total / safe + 0.5, 0.0),
        official_xy=total // safe,
        box_xyxy=np.where(there, box, 0),
    )


def _extent(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    there = counts > 0
    return there.argmax(1), counts.shape[1] - there[:, ::-1].argmax(1)


def medians(
    values: np.ndarray,
    ranked: np.ndarray,
    num_segments: int,
    valid: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Median of the values in each segment (NaN without any), and their number.

    NaN values do not count; an even number of values gives the mean of the middle two.
    """
    use = (ranked > 0) & ~np.isnan(values)
    if valid is not None:
        use &= valid
    segment, picked = ranked[use], values[use].astype(np.float64)
    # A stable sort of 16-bit integers is a radix sort.
    small = segment.astype(np.uint16) if num_segments < 1 << 16 else segment
    order = np.argsort(small, kind="stable")
    count = np.bincount(segment, minlength=num_segments + 1)[1:]
    parts = np.split(picked[order], np.cumsum(count)[:-1]) if num_segments else []
    found = [np.median(part) if len(part) else np.nan for part in parts]
    return np.asarray(found, values.dtype).reshape(num_segments), count


def erode(labels: np.ndarray, radius: int) -> np.ndarray:
    """Erodes all labels at once by a square of side 2 radius + 1.

    A pixel keeps its label if its whole window has it; the window is cut at the border
    of the image, which therefore erodes nothing.
    """
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    # Types that OpenCV takes and that hold every rank (float32: up to 2^24) exactly.
    small = labels if labels.max(initial=0) < 1 << 16 else rank_labels(labels)[1]
    small = small.astype(np.uint16 if small.max(initial=0) < 1 << 16 else np.float32)
    # Its border never decides: infinite for the minimum, 0 for the maximum.
    same = cv2.erode(small, square) == cv2.dilate(small, square)
    return np.where(same, labels, 0)


def resize_official(labels: np.ndarray, size_hw: tuple[int, ...]) -> np.ndarray:
    """Brings a label map (H, W) to another size; row y comes from floor(y H / h).

    Source: what OpenCV and torch call nearest, as the official EgoSeg3D scripts use it;
      `ops.image.resize_nearest` takes the pixel under each centre instead.
    """
    if labels.shape == tuple(size_hw):
        return labels
    rows, cols = (
        np.arange(new) * old // new
        for new, old in zip(size_hw, labels.shape, strict=True)
    )
    return labels[rows[:, None], cols]


def nearest_inside(
    ranked: np.ndarray, centroid_xy: np.ndarray, box_xyxy: np.ndarray
) -> np.ndarray:
    """Column and row of each segment's pixel nearest to its centroid, int64 (n, 2).

    Ties go to the first pixel in reading order; a rank without pixels gives (0, 0).
    """
    out = np.zeros((len(centroid_xy), 2), np.int64)
    for row, (center, box) in enumerate(zip(centroid_xy, box_xyxy, strict=True)):
        x0, y0, x1, y1 = box
        y, x = np.nonzero(ranked[y0:y1, x0:x1] == row + 1)
        if len(x):
            gap = (x + x0 + 0.5 - center[0]) ** 2 + (y + y0 + 0.5 - center[1]) ** 2
            best = gap.argmin()
            out[row] = x[best] + x0, y[best] + y0
    return out
