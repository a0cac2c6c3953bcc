"""What radiance fields are made of, plainly in NumPy: grids, samples, colours of rays.

float32 throughout, vectorised where NumPy can: what the bench holds ours against.
"""

from collections.abc import Iterator

import numpy as np

from egojax.ops.grids import Grid
from egojax.ops.hash_grid import PRIMES, HashGrid
from egojax.ops.plane_grid import PlaneGrid


def corners(
    points: np.ndarray, grid: HashGrid
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Level, rows (N,) and shares (N,) of each corner of the cells of points (N, 3)."""
    start = 0
    for level, (cells, count) in enumerate(
        zip(grid.resolutions, grid.rows, strict=True)
    ):
        at = points * np.float32(cells)
        low = np.minimum(np.floor(at), np.float32(cells - 1))
        part, first = at - low, low.astype(np.uint32)
        for corner in np.ndindex(2, 2, 2):
            x, y, z = (first + np.array(corner, np.uint32)).T
            if (cells + 1) ** 3 <= 2**grid.log2_rows:
                row = x + np.uint32(cells + 1) * (y + np.uint32(cells + 1) * z)
            else:
                row = (x * np.uint32(PRIMES[0])) ^ (y * np.uint32(PRIMES[1]))
                row = (row ^ (z * np.uint32(PRIMES[2]))) & np.uint32(count - 1)
            share = np.where(corner, part, 1 - part).prod(1, dtype=np.float32)
            yield level, row.astype(np.int64) + start, share
        start += count


def hash_encode(points: np.ndarray, table: np.ndarray, grid: HashGrid) -> np.ndarray:
    """(N, E) features."""
    out = np.zeros((len(points), grid.levels, grid.features), np.float32)
    for level, row, share in corners(points, grid):
        out[:, level] += table[row] * share[:, None]
    return out.reshape(len(points), -1)


def hash_slope(points: np.ndarray, slope: np.ndarray, grid: HashGrid) -> np.ndarray:
    """The gradient of the table, of the gradient of the features (N, E)."""
    out = np.zeros(grid.table_shape, np.float32)
    slope = slope.reshape(len(points), grid.levels, grid.features)
    for level, row, share in corners(points, grid):
        for f in range(grid.features):
            weights = slope[:, level, f] * share
            out[:, f] += np.bincount(row, weights, len(out)).astype(np.float32)
    return out


def plane_corners(
    points: np.ndarray, grid: PlaneGrid
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Part, rows (N,) and shares (N,) of each node around points (N, 3).

    The volume is part 0; then come, level by level, its planes xy, xz and yz.
    """
    planes = [(c, axes) for c in grid.resolutions for axes in ((0, 1), (0, 2), (1, 2))]
    start = 0
    for part, (cells, axes) in enumerate([(grid.volume, (0, 1, 2)), *planes]):
        sides = np.array(grid.sides_of(cells))[list(axes)]
        at = points[:, axes] * sides.astype(np.float32)
        low = np.minimum(np.floor(at), sides - np.float32(1))
        strides = np.cumprod([1, *(sides[:-1] + 1)])
        for corner in np.ndindex(*(2,) * len(axes)):
            row = (low.astype(np.int64) + corner) @ strides
            share = np.where(corner, at - low, 1 - (at - low))
            yield part, row + start, share.prod(1, dtype=np.float32)
        start += grid.rows[part]


def plane_parts(points: np.ndarray, table: np.ndarray, grid: PlaneGrid) -> np.ndarray:
    """What the volume and each plane say, (parts, N, F)."""
    out = np.zeros((len(grid.rows), len(points), grid.features), np.float32)
    for part, row, share in plane_corners(points, grid):
        out[part] += table[row] * share[:, None]
    return out


def plane_encode(points: np.ndarray, table: np.ndarray, grid: PlaneGrid) -> np.ndarray:
    """(N, E) features."""
    parts = plane_parts(points, table, grid)
    planes = (1 + parts[1:]).reshape(grid.levels, 3, *parts.shape[1:]).prod(1) - 1
    return np.concatenate([parts[:1], planes]).swapaxes(0, 1).reshape(len(points), -1)


def plane_slope(
    points: np.ndarray, table: np.ndarray, slope: np.ndarray, grid: PlaneGrid
) -> np.ndarray:
    """The gradient of the table, of the gradient of the features (N, E)."""
    slope = slope.reshape(len(points), 1 + grid.levels, grid.features).swapaxes(0, 1)
    one = 1 + plane_parts(points, table, grid)[1:]
    one = one.reshape(grid.levels, 3, *one.shape[1:])
    others = np.stack([one[:, 1] * one[:, 2], one[:, 0] * one[:, 2]], 1)
    others = np.concatenate([others, (one[:, 0] * one[:, 1])[:, None]], 1)
    by_plane = (slope[1:, None] * others).reshape(-1, *slope.shape[1:])
    by_part = np.concatenate([slope[:1], by_plane])
    out = np.zeros(grid.table_shape, np.float32)
    for part, row, share in plane_corners(points, grid):
        for f in range(grid.features):
            weights = by_part[part, :, f] * share
            out[:, f] += np.bincount(row, weights, len(out)).astype(np.float32)
    return out


def encode(points: np.ndarray, table: np.ndarray, grid: Grid) -> np.ndarray:
    """(N, E) features."""
    if isinstance(grid, HashGrid):
        return hash_encode(points, table, grid)
    return plane_encode(points, table, grid)


def slope(
    points: np.ndarray, table: np.ndarray, slope: np.ndarray, grid: Grid
) -> np.ndarray:
    """The gradient of the table, of the gradient of the features (N, E)."""
    if isinstance(grid, HashGrid):
        return hash_slope(points, slope, grid)
    return plane_slope(points, table, slope, grid)


def sample_pdf(bins: np.ndarray, weights: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Positions (R, N) at quantiles, ray by ray where NumPy searches."""
    p = weights + np.float32(1e-5)
    p /= p.sum(1, keepdims=True)
    cdf = np.zeros(bins.shape, np.float32)
    np.cumsum(p, axis=1, out=cdf[:, 1:])
    pairs = zip(cdf, u, strict=True)
    above = np.stack([np.searchsorted(c, x, side="right") for c, x in pairs])
    low, high = np.maximum(above - 1, 0), np.minimum(above, weights.shape[1])
    start = np.take_along_axis(cdf, low, 1)
    mass = np.take_along_axis(cdf, high, 1) - start
    first = np.take_along_axis(bins, low, 1)
    share = (u - start) / np.where(mass < 1e-5, np.float32(1), mass)
    return first + share * (np.take_along_axis(bins, high, 1) - first)


def composite(
    density: np.ndarray, delta: np.ndarray, rgb: np.ndarray, t: np.ndarray
) -> np.ndarray:
    """Colour, masks and depth (R, 3 + Q + 1) of streams (Q, R, S), as published."""
    total = density.sum(0)
    alpha = 1 - np.exp(-delta * total)
    trans = np.ones_like(alpha)
    np.cumprod(1 - alpha[:, :-1], axis=1, out=trans[:, 1:])
    share = density / total * alpha
    share[:, :, -1] = 1 - np.exp(-delta[:, -1] * density[:, :, -1])
    weights = trans * share
    color = (weights[..., None] * rgb).sum((0, 2))
    depth = (trans * alpha * t).sum(1)
    return np.concatenate([color, weights.sum(2).T, depth[:, None]], axis=1)


def item_wise(images: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Colours (R, 3) of rays (R, 2) as the published loader: a call for each."""

    def item(frame: int, pixel: int) -> np.ndarray:
        return images[frame, pixel // images.shape[2], pixel % images.shape[2]]

    return np.stack([item(*ray) for ray in rays.tolist()])


def colors(images: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """The same in one piece."""
    frame, pixel = rays.T
    return images[frame, pixel // images.shape[2], pixel % images.shape[2]]
