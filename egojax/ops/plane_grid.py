"""Features of positions from planes and one coarse volume, by matrix products alone.

A volume of few cells and, level by level, three planes (xy, xz, yz) hold numbers at
their nodes. What is between nodes is a product of tables with hat functions,
max(0, 1 - |x cells - k|) at the nodes k of an axis, of which two are not zero. No row
is looked up and none is added to, forward or backward: on devices where gathers and
scatters are slow (TPU) a product with zeros is sooner done.

Source: Chan et al. 2022 (EG3D) and Fridovich-Keil et al. 2023 (K-Planes) for planes.
Differs: features are products of one plus each plane's, so that fresh planes near zero
learn; a volume; no look-ups.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from egojax.ops.hash_grid import growing
from egojax.types import ArrayLike, typed

KEPT = "features"  # Of points, for gradients.


@dataclasses.dataclass(frozen=True)
class PlaneGrid:
    """The shape of a table: a volume, then planes from coarsest to finest."""

    volume: int  # Cells of the volume along each side,
    levels: int
    coarsest: int  # and of planes.
    finest: int
    features: int = 4  # Numbers a node.
    along_z: float = 1.0  # How many times as many cells are along z.
    dtype: Literal["float32", "bfloat16"] = "float32"  # Of products' operands.
    chunk_bytes: int = 1 << 19  # Of the largest matrix of a chunk of points.

    @property
    def sides(self) -> tuple[int, int, int]:
        """Cells along x, y and z at the finest level."""
        return self.sides_of(self.finest)

    def sides_of(self, cells: int) -> tuple[int, int, int]:
        """Cells along x, y and z, where so many are along x."""
        return cells, cells, max(1, round(cells * self.along_z))

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Cells along each side of the planes, level by level."""
        return growing(self.levels, self.coarsest, self.finest)

    @property
    def rows(self) -> tuple[int, ...]:
        """Nodes of the volume and, level by level, of the planes xy, xz and yz."""
        x, y, z = (n + 1 for n in self.sides_of(self.volume))
        rows = [x * y * z]
        for cells in self.resolutions:
            x, y, z = (n + 1 for n in self.sides_of(cells))
            rows += [x * y, x * z, y * z]
        return tuple(rows)

    @property
    def table_shape(self) -> tuple[int, int]:
        """(R, F): the nodes of all, one below the other, x fastest and z slowest."""
        return sum(self.rows), self.features

    @property
    def dim(self) -> int:
        """Features of a position."""
        return (1 + self.levels) * self.features

    @property
    def chunk(self) -> int:
        """Points that are encoded at once."""
        _, y, z = (n + 1 for n in self.sides_of(self.volume))
        along_x = max(self.volume, self.finest) + 1
        widest = max(y * z, self.sides[2] + 1, self.features * along_x)
        return max(1, self.chunk_bytes // (4 * widest))


@jax.jit(static_argnames="grid")
@typed
def plane_encode(
    points: Float[ArrayLike, "*batch 3"],
    table: Float[ArrayLike, "R F"],
    grid: PlaneGrid,
) -> Float[Array, "*batch E"]:
    """The E = (1 + levels) x features numbers of positions: the volume's, the planes'.

    Args:
      points: In the unit cube; what lies outside counts as on its border.
      table: Of `grid.table_shape`; rows beyond those are not used.
      grid: Static.

    Returns:
      float32; differentiable in the table and, but for where cells meet, in the points.
      At a time there are matrices of nodes for `grid.chunk` points, not for all.

    Raises:
      ValueError: a table of too few rows, or of another width.
    """
    rows, features = grid.table_shape
    if len(table) < rows or table.shape[1] != features:
        raise ValueError(f"table {table.shape}; the grid has {(rows, features)}")
    points = jnp.asarray(points)
    flat = jnp.clip(points.reshape(-1, 3), 0.0, 1.0)
    count = max(1, -(-len(flat) // grid.chunk))
    size = -(-len(flat) // count)
    padded = jnp.pad(flat, ((0, count * size - len(flat)), (0, 0)))
    # Every `count`th point is in one chunk: where points lie on several devices, each
    # has a share of every chunk.
    chunks = jnp.moveaxis(padded.reshape(size, count, 3), 1, 0)
    one = functools.partial(_encode, grid, jnp.asarray(table))
    # Hats are made again for gradients: kept, they would be those of all chunks.
    keep = jax.checkpoint_policies.save_only_these_names(KEPT)
    found = lax.map(jax.checkpoint(one, prevent_cse=False, policy=keep), chunks)
    found = jnp.moveaxis(found, 0, 1).reshape(count * size, grid.dim)[: len(flat)]
    return found.reshape(*points.shape[:-1], grid.dim)


def _encode(grid: PlaneGrid, table: Array, points: Array) -> Array:
    """(N, E) of points (N, 3)."""
    parts = iter(jnp.split(table, np.cumsum(grid.rows))[:-1])
    x, y, z = points.T

    def between(outer: Array, at: Array, cells: int) -> Array:
        return _between(grid, outer, at, cells, next(parts))

    a, b, c = grid.sides_of(grid.volume)
    pairs = _hats(z, c)[:, :, None] * _hats(y, b)[:, None, :]
    out = [between(pairs.reshape(len(points), (b + 1) * (c + 1)), x, a)]
    for cells in grid.resolutions:
        a, b, c = grid.sides_of(cells)
        rise, deep = _hats(y, b), _hats(z, c)
        xy, xz, yz = between(rise, x, a), between(deep, x, a), between(deep, y, b)
        # Near zero their sum; planes that are large can cut each other's patterns.
        out.append((1.0 + xy) * (1.0 + xz) * (1.0 + yz) - 1.0)
    return jnp.concatenate(out, axis=-1)


def _between(
    grid: PlaneGrid, outer: Array, at: Array, cells: int, nodes: Array
) -> Array:
    """(N, F), of shares of the slower axis (N, A) and positions (N,) on the faster."""
    rows = _product(outer, nodes.reshape(outer.shape[1], -1), grid.dtype)
    # The sum over the faster axis is a product too: one of strided numbers is slow.
    every = jnp.tile(jnp.eye(grid.features), (cells + 1, 1))
    found = _product(rows * _hats(at, cells, grid.features), every, grid.dtype)
    return checkpoint_name(found, KEPT)


def _hats(at: Array, cells: int, repeat: int = 1) -> Array:
    """Shares of an axis's nodes, (N, (cells + 1) repeat); each stands so often."""
    nodes = np.repeat(np.arange(cells + 1, dtype=np.float32), repeat)
    return jnp.maximum(0.0, 1.0 - jnp.abs(at[:, None] * cells - nodes[None]))


def _product(a: Array, b: Array, dtype: str) -> Array:
    """a b, of operands of that type, with sums in float32."""
    return jnp.matmul(
        a.astype(dtype),
        b.astype(dtype),
        precision=lax.Precision.HIGHEST if dtype == "float32" else None,
        preferred_element_type=jnp.float32,
    )
