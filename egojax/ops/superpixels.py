"""Superpixels: small pieces of an image, each of one colour.

Pixels are (x, y) and (0, 0) is the outer corner of the first one. An image of H x W has
S = rows x columns superpixels, numbered row by row as the squares that they begin as.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from egojax.types import ArrayLike, typed


class Superpixels(NamedTuple):
    """A partition of the pixels; means of its pieces, zeros where one is empty."""

    ids: Int[Array, "H W"]  # int32, in [0, S).
    area: Float[Array, " S"]  # Pixels.
    center_xy: Float[Array, "S 2"]  # Pixels.
    color: Float[Array, "S C"]


def superpixel_grid(size_hw: tuple[int, int], size: int) -> tuple[int, int]:
    """Rows and columns of superpixels of about `size` pixels across; at least one."""
    return max(round(size_hw[0] / size), 1), max(round(size_hw[1] / size), 1)


@functools.partial(jax.jit, static_argnames=("size", "num_rounds"))
@typed
def superpixels(
    image: Float[ArrayLike, "H W C"],
    size: int = 8,
    compactness: Float[ArrayLike, ""] | float = 5.0,
    num_rounds: int = 2,
) -> Superpixels:
    """Cuts an image into pieces of one colour, about `size` pixels across.

    Args:
      image: Colours in which distance is difference, such as CIE Lab.
      size: Pixels, >= 1.
      compactness: The difference of colour that weighs as much as `size` pixels of
        distance: pieces are round where it is large, follow edges where it is small.
      num_rounds: Rounds of taking pixels and moving centres; 0 = squares.

    Source: Achanta et al. 2012 (SLIC). Differs: a pixel chooses among the nine pieces
      that began around it, however far they have moved; pieces may fall apart.
    """
    if size < 1 or num_rounds < 0:
        raise ValueError(f"size={size}, num_rounds={num_rounds}; expected >= 1, >= 0")
    height, width, _ = image.shape
    rows, columns = superpixel_grid((height, width), size)
    y = (jnp.arange(height) + 0.5)[:, None] + jnp.zeros((1, width))
    x = (jnp.arange(width) + 0.5)[None, :] + jnp.zeros((height, 1))
    color = jnp.asarray(image, jnp.float32)
    pixels = jnp.concatenate([color, x[..., None], y[..., None]], -1)
    row = jnp.arange(height) * rows // height
    column = jnp.arange(width) * columns // width
    ids = row[:, None] * columns + column[None, :]
    # Distances in colour: positions are scaled, colours are not.
    scale = jnp.ones(pixels.shape[-1]).at[-2:].set(compactness / size)
    area, means = _means(pixels, ids, rows * columns)
    for _ in range(num_rounds):
        centers = (means * scale[None]).reshape(rows, columns, -1)
        is_empty = (area == 0).reshape(rows, columns)
        ids = _nearest(pixels * scale[None, None], centers, is_empty, row, column)
        area, means = _means(pixels, ids, rows * columns)
    return Superpixels(ids, area, means[:, -2:], means[:, :-2])


def _means(pixels: Array, ids: Array, count: int) -> tuple[Array, Array]:
    flat = pixels.reshape(-1, pixels.shape[-1])
    ones = jnp.ones((len(flat), 1), flat.dtype)
    sums = jax.ops.segment_sum(
        jnp.concatenate([flat, ones], -1), ids.ravel(), num_segments=count
    )
    return sums[:, -1], sums[:, :-1] / jnp.maximum(sums[:, -1:], 1.0)


def _nearest(
    pixels: Array, centers: Array, is_empty: Array, row: Array, column: Array
) -> Array:
    """The nearest of nine centres of each pixel, those around its first square."""
    rows, columns, _ = centers.shape

    def try_one(best: tuple[Array, Array], step: Array) -> tuple:
        at_row, at_column = row + step[0], column + step[1]
        is_in = (at_row >= 0) & (at_row < rows)
        is_in = is_in[:, None] & ((at_column >= 0) & (at_column < columns))[None, :]
        at_row = jnp.clip(at_row, 0, rows - 1)
        at_column = jnp.clip(at_column, 0, columns - 1)
        ids = at_row[:, None] * columns + at_column[None, :]
        gap = pixels - centers[at_row][:, at_column]
        cost = jnp.where(
            is_in & ~is_empty[at_row][:, at_column], (gap * gap).sum(-1), jnp.inf
        )
        is_better = cost < best[0]
        better = jnp.where(is_better, cost, best[0]), jnp.where(is_better, ids, best[1])
        return better, None

    steps = jnp.array([(i, j) for i in (0, -1, 1) for j in (0, -1, 1)])
    first = row[:, None] * columns + column[None, :]
    start = jnp.full(first.shape, jnp.inf), first
    return lax.scan(try_one, start, steps)[0][1].astype(jnp.int32)
