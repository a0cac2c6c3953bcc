"""Images under jit: resize, pad to a multiple, look up at points.

Pixels are (x, y); the centre of the first pixel is (0.5, 0.5), so that a resize maps
outer corners to outer corners ("half pixel centres", align_corners=False).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num, Shaped

from egojax.types import ArrayLike, typed


@jax.jit(static_argnames="size_hw")
@typed
def resize_nearest(
    images: Shaped[Array, "*batch H W C"], size_hw: tuple[int, int]
) -> Shaped[Array, "*batch h w C"]:
    """Takes the input pixel under each output centre; for labels, depth and masks."""
    rows = _nearest_index(images.shape[-3], size_hw[0])
    columns = _nearest_index(images.shape[-2], size_hw[1])
    return images[..., rows, :, :][..., columns, :]


def _nearest_index(old: int, new: int) -> Array:
    # Integers: (i + 0.5) * old / new, rounded down, without rounding errors.
    return (2 * jnp.arange(new) + 1) * old // (2 * new)


@jax.jit(static_argnames="size_hw")
@typed
def resize_bilinear(
    images: Float[Array, "*batch H W C"], size_hw: tuple[int, int]
) -> Float[Array, "*batch h w C"]:
    """Interpolates between the four nearest centres; borders repeat.

    Shrinking by more than two skips pixels, as torch and OpenCV do: no antialiasing.
    """
    for axis, new in ((-3, size_hw[0]), (-2, size_hw[1])):
        old = images.shape[axis]
        if new == old:
            continue
        at = (jnp.arange(new) + 0.5) * (old / new) - 0.5
        low, weight = _neighbours(at, old)
        low_part = jnp.take(images, low, axis=axis)
        high_part = jnp.take(images, jnp.minimum(low + 1, old - 1), axis=axis)
        shape = [1] * images.ndim
        shape[axis] = new
        weight = weight.astype(images.dtype).reshape(shape)
        images = low_part * (1 - weight) + high_part * weight
    return images


def _neighbours(at: Array, size: int) -> tuple[Array, Array]:
    """Index of the lower neighbour and the weight of the upper one."""
    at = jnp.clip(at, 0.0, size - 1.0)
    low = jnp.clip(jnp.floor(at).astype(jnp.int32), 0, max(size - 2, 0))
    return low, at - low


@jax.jit(static_argnames=("size_hw", "scale_hw"))
@typed
def resize_bicubic(
    images: Float[Array, "*batch H W C"],
    size_hw: tuple[int, int],
    scale_hw: tuple[float, float] | None = None,
) -> Float[Array, "*batch h w C"]:
    """Through cubic pieces of the four nearest centres (a = -0.75); borders repeat.

    No antialiasing, as in torch and OpenCV; `jax.image.resize` has a = -0.5.

    Args:
      images: Any numbers; results may be beyond their range.
      size_hw: Rows and columns of the result.
      scale_hw: Input pixels under one of the result are 1 / scale; None = what fits
        the sizes. Torch takes the scale that it is given, fitting or not.
    """
    for axis, new in ((-3, size_hw[0]), (-2, size_hw[1])):
        old = images.shape[axis]
        scale = new / old if scale_hw is None else scale_hw[axis + 3]
        rows = jnp.asarray(_cubic_rows(old, new, scale), images.dtype)
        moved = jnp.moveaxis(images, axis, -1)
        moved = jnp.matmul(moved, rows.T, precision=lax.Precision.HIGHEST)
        images = jnp.moveaxis(moved, -1, axis)
    return images


def _cubic_rows(old: int, new: int, scale: float) -> np.ndarray:
    """(new, old): what each input pixel is to each one of the result."""
    at = (np.arange(new) + 0.5) / scale - 0.5
    low = np.floor(at).astype(int)
    out = np.zeros((new, old))
    for tap in range(-1, 3):
        x = np.abs(at - low - tap)
        near = (1.25 * x - 2.25) * x * x + 1
        far = -0.75 * (((x - 5) * x + 8) * x - 4)
        pixel = np.clip(low + tap, 0, old - 1)
        np.add.at(out, (np.arange(new), pixel), np.where(x <= 1, near, far))
    return out


@jax.jit(static_argnames="multiple")
@typed
def pad_to_multiple(
    images: Num[Array, "*batch H W C"], multiple: int
) -> Num[Array, "*batch h w C"]:
    """Repeats the last row and column until both sides divide by `multiple`.

    The content stays at the upper left: cut with `[..., :H, :W, :]`.
    """
    height, width = images.shape[-3:-1]
    pad = [(0, 0)] * (images.ndim - 3)
    pad += [(0, -height % multiple), (0, -width % multiple), (0, 0)]
    return jnp.pad(images, pad, mode="edge")


@jax.jit
@typed
def lookup_bilinear(
    image: Float[Array, "H W C"], points_xy: Float[Array, "*points 2"]
) -> Float[Array, "*points C"]:
    """Values at pixel coordinates; outside the outer centres the border repeats.

    Differentiable in the image and in the points. Where a weight is exactly 0 its pixel
    does not count, so an infinite depth beside the point does no harm.
    """
    height, width = image.shape[:2]
    x, wx = _neighbours(points_xy[..., 0] - 0.5, width)
    y, wy = _neighbours(points_xy[..., 1] - 0.5, height)
    x1, y1 = jnp.minimum(x + 1, width - 1), jnp.minimum(y + 1, height - 1)
    corners = (
        (y, x, (1 - wy) * (1 - wx)),
        (y, x1, (1 - wy) * wx),
        (y1, x, wy * (1 - wx)),
        (y1, x1, wy * wx),
    )
    out = jnp.zeros((*points_xy.shape[:-1], image.shape[-1]), image.dtype)
    for row, column, weight in corners:
        value, weight = image[row, column], weight[..., None].astype(image.dtype)
        # Only an infinite value needs the guard: elsewhere the gradient must pass.
        idle = (weight == 0) & ~jnp.isfinite(value)
        out += jnp.where(idle, 0, value) * weight
    return out


@jax.jit
@typed
def lookup_nearest(
    image: Shaped[Array, "H W C"], points_xy: Float[Array, "*points 2"]
) -> Shaped[Array, "*points C"]:
    """The pixel under each point; outside the image the border repeats."""
    height, width = image.shape[:2]
    column = jnp.clip(jnp.floor(points_xy[..., 0]).astype(jnp.int32), 0, width - 1)
    row = jnp.clip(jnp.floor(points_xy[..., 1]).astype(jnp.int32), 0, height - 1)
    return image[row, column]


@jax.jit(static_argnames="corners")
@typed
def sample_masks(
    masks: Float[ArrayLike, "K H W"],
    loc: Float[ArrayLike, "N 2"],
    *,
    corners: bool = False,
) -> Float[Array, "K N"]:
    """Masks at places (x, y) in [-1, 1], interpolated; 0 beyond the image.

    Args:
      masks: Any numbers.
      loc: -1 and 1 are the outer edges of the outer pixels; places outside, and NaN,
        find zeros.
      corners: -1 and 1 are the centres of the outer pixels instead.

    Returns:
      Differentiable in masks and places.

    Source: PyTorch's `grid_sample`, with zeros for padding.
    """
    masks, loc = jnp.asarray(masks), jnp.asarray(loc)
    height, width = masks.shape[1:]

    def cell(at: Array, side: int) -> tuple[Array, Array]:
        at = (at + 1) / 2 * (side - 1) if corners else ((at + 1) * side - 1) / 2
        at = jnp.clip(jnp.nan_to_num(at, nan=-2.0), -2.0, side + 1.0)
        low = jnp.floor(at)
        return low.astype(jnp.int32) + 2, at - low

    (column, x), (row, y) = cell(loc[:, 0], width), cell(loc[:, 1], height)
    # Two rows of zeros on each side are all that a clipped place can reach.
    framed = jnp.pad(masks, ((0, 0), (2, 3), (2, 3)))
    out = jnp.zeros((len(masks), len(loc)), masks.dtype)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        share = (x if dx else 1 - x) * (y if dy else 1 - y)
        out += framed[:, row + dy, column + dx] * share.astype(out.dtype)[None]
    return out
