"""Which points are followed from which frame, and through which frames.

Pixels are those of egojax, (0, 0) at the outer corner; the official code counts from
the centre of the first pixel, half a pixel less.

Source: Karazija et al. 2024 (LRTL), `extract_trajectories.py`.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

Item = TypeVar("Item")


class Extraction(NamedTuple):
    """The frames through which the points of one frame are followed."""

    first: int  # Of the clip.
    stop: int  # The frame after the last.
    query: int  # Which of these the points are of, counted from `first`.
    support: tuple[int, ...]  # Where more points are taken, counted likewise.


def grid_offset(frame: int, stride: int = 4) -> tuple[int, int]:
    """Where the grid of a frame begins, (x, y) in 0 .. stride - 1: it wanders.

    The grids of stride^2 frames in a row have each pixel once.
    """
    part = frame % (stride * stride)
    return part % stride, part // stride


def grid_shape(
    size_hw: tuple[int, int], offset: tuple[int, int], stride: int = 4
) -> tuple[int, int]:
    """Rows and columns of the grid that begins at `offset` (x, y)."""
    (height, width), (x, y) = size_hw, offset
    return max(0, -(-(height - y) // stride)), max(0, -(-(width - x) // stride))


def grid_points(
    size_hw: tuple[int, int], offset: tuple[int, int], stride: int = 4
) -> np.ndarray:
    """The centres of the pixels of a grid, float32 (h w, 2), x and y, row by row."""
    height, width = size_hw
    y, x = np.mgrid[offset[1] : height : stride, offset[0] : width : stride]
    return np.stack([x.ravel(), y.ravel()], -1).astype(np.float32) + np.float32(0.5)


def extraction(
    num_frames: int, frame: int, most: int = 100, reach: int = 7
) -> Extraction:
    """The frames to follow a frame's points through.

    Args:
      num_frames: Of the clip.
      frame: From 0.
      most: A longer clip is cut to most + 1 frames around this one, moved inside.
      reach: How far the support frames are away.

    Raises:
      ValueError: no such frame.
    """
    if not 0 <= frame < num_frames:
        raise ValueError(f"frame {frame} of {num_frames}")
    first, stop = 0, num_frames
    if num_frames > most:
        first = min(max(frame - most // 2, 0), num_frames - most - 1)
        stop = first + most + 1
    query, last = frame - first, stop - first - 1
    near = {max(query - reach, 0), min(query + reach, last)} - {query}
    return Extraction(first, stop, query, tuple(sorted(near)))


def array_items(
    items: Sequence[Item], task: int, first: int = 0, count: int = 1
) -> Sequence[Item]:
    """The items of one task of a job array, as the official tool deals them out.

    Args:
      task: Its number, from `first` to first + count - 1.

    Raises:
      ValueError: no such task.
    """
    if not first <= task < first + count:
        raise ValueError(f"task {task} of {count} from {first} on")
    return items[task - first :: count]
