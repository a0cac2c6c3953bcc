"""Features of positions from grids of many resolutions, hashed where they are fine.

A grid of resolution r has (r + 1)^3 nodes over the unit cube. Where a level has no more
nodes than `2^log2_rows` each has a row of the table of its own; elsewhere rows are
shared by a hash, and training decides who may have them.

Source: Mueller et al. 2022 (Instant NGP), section 3.
"""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from egojax.types import ArrayLike, typed

PRIMES = (1, 2654435761, 805459861)
CORNERS = tuple(itertools.product((0, 1), repeat=3))


def growing(levels: int, coarsest: int, finest: int) -> tuple[int, ...]:
    """Cells along a side, level by level, in equal ratios."""
    growth = math.log(finest / coarsest) / max(levels - 1, 1)
    # The small share keeps the last level from falling one short by rounding.
    return tuple(
        int(coarsest * math.exp(growth * level) + 1e-6) for level in range(levels)
    )


@dataclasses.dataclass(frozen=True)
class HashGrid:
    """The shape of a table; levels grow geometrically from coarsest to finest."""

    levels: int
    coarsest: int  # Cells along each side.
    finest: int
    log2_rows: int  # Of a level, at most.
    features: int = 2  # Numbers a row.

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Cells along each side, level by level."""
        return growing(self.levels, self.coarsest, self.finest)

    @property
    def sides(self) -> tuple[int, int, int]:
        """Cells along x, y and z at the finest level."""
        return self.finest, self.finest, self.finest

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of each level."""
        most = 2**self.log2_rows
        return tuple(min((r + 1) ** 3, most) for r in self.resolutions)

    @property
    def table_shape(self) -> tuple[int, int]:
        """(R, F): the rows of all levels, one below the other."""
        return sum(self.rows), self.features

    @property
    def dim(self) -> int:
        """Features of a position."""
        return self.levels * self.features


@jax.jit(static_argnames="grid")
@typed
def hash_encode(
    points: Float[ArrayLike, "*batch 3"],
    table: Float[ArrayLike, "R F"],
    grid: HashGrid,
) -> Float[Array, "*batch E"]:
    """The E = levels x features numbers of positions, interpolated level by level.

    Args:
      points: In the unit cube; what lies outside counts as on its border.
      table: Of `grid.table_shape`; rows beyond those are not used.
      grid: Static.

    Returns:
      Differentiable (once, and backward: no jvp) in the table and, but for where cells
      meet, in the points.

    Raises:
      ValueError: a table of too few rows, or of another width.
    """
    rows, features = grid.table_shape
    if len(table) < rows or table.shape[1] != features:
        raise ValueError(f"table {table.shape}; the grid has {(rows, features)}")
    points = jnp.asarray(points)
    flat = jnp.clip(points.reshape(-1, 3), 0.0, 1.0).T
    found = _encode(grid, flat, jnp.asarray(table))
    return jnp.moveaxis(found, 0, 1).reshape(*points.shape[:-1], grid.dim)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _encode(grid: HashGrid, points: Array, table: Array) -> Array:
    """(L, N, F) of points (3, N)."""
    rows, shares, _ = _corners(grid, points)
    # Row by row: such a gather of pairs is vectorised, one of all corners is not.
    total = jnp.zeros((grid.levels, points.shape[1], grid.features), table.dtype)
    for row, share in zip(rows, shares, strict=True):
        total += table.at[row].get(mode="promise_in_bounds") * share[..., None]
    return total


def _encode_fwd(grid: HashGrid, points: Array, table: Array) -> tuple:
    return _encode(grid, points, table), (points, table)


def _encode_bwd(grid: HashGrid, saved: tuple, slope: Array) -> tuple[Array, Array]:
    points, table = saved
    rows, shares, slopes = _corners(grid, points)
    # A scatter of single numbers takes a third of the time of one of pairs.
    row, share = jnp.stack(rows).reshape(-1), jnp.stack(shares)
    empty = jnp.zeros(len(table), slope.dtype)
    columns = (slope[None, :, :, f] * share for f in range(grid.features))
    by_table = [
        empty.at[row].add(column.reshape(-1), mode="promise_in_bounds")
        for column in columns
    ]
    by_points = jnp.zeros_like(points)
    for row, by_axis in zip(rows, slopes, strict=True):
        along = (table.at[row].get(mode="promise_in_bounds") * slope).sum(-1)
        by_points += jnp.stack([(along * s).sum(0) for s in by_axis])
    return by_points, jnp.stack(by_table, -1).astype(table.dtype)


_encode.defvjp(_encode_fwd, _encode_bwd)


def _corners(
    grid: HashGrid, points: Array
) -> tuple[list[Array], list[Array], list[list[Array]]]:
    """Of the eight corners: rows, shares (L, N), and slopes of the shares by axis."""
    cells = np.array(grid.resolutions)[:, None]
    starts = np.cumsum([0, *grid.rows[:-1]])[:, None]
    is_whole = (cells + 1) ** 3 <= 2**grid.log2_rows
    side, mask = np.uint32(cells + 1), np.uint32(2**grid.log2_rows - 1)
    at = [axis[None, :] * jnp.asarray(cells, points.dtype) for axis in points]
    low = [jnp.minimum(jnp.floor(x), jnp.asarray(cells - 1.0, x.dtype)) for x in at]
    part = [x - first for x, first in zip(at, low, strict=True)]
    first = [x.astype(jnp.uint32) for x in low]
    rows, shares, slopes = [], [], []
    for corner in CORNERS:
        x, y, z = (f + np.uint32(c) for f, c in zip(first, corner, strict=True))
        hashed = (x * np.uint32(PRIMES[0])) ^ (y * np.uint32(PRIMES[1]))
        hashed = (hashed ^ (z * np.uint32(PRIMES[2]))) & mask
        row = jnp.where(is_whole, x + side * (y + side * z), hashed)
        rows.append(row.astype(jnp.int32) + np.int32(starts))
        a, b, c = (p if k else 1.0 - p for p, k in zip(part, corner, strict=True))
        shares.append(a * b * c)
        signs = (np.float32((2 * k - 1) * cells) for k in corner)
        slopes.append(
            [s * w for s, w in zip(signs, (b * c, a * c, a * b), strict=True)]
        )
    return rows, shares, slopes
