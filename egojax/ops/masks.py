"""Label maps and masks under jit: ranks, statistics, medians, erosion, boxes.

A label map has one integer a pixel, 0 for background. Under jit the labels are dense
ranks: `rank_labels` maps K ids (ascending, unused rows 0) to 1..K, and every function
returns a row per rank, row r - 1 for rank r; a rank without pixels has area 0 and zeros
elsewhere. Pixels are (x, y), the centre of the first pixel is (0.5, 0.5), boxes are
(x0, y0, x1, y1) outer corners. `ops.segments` is the same on the host, for ragged ids.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from egojax.types import typed


class SegmentStatistics(NamedTuple):
    """Where each segment of a frame lies."""

    area: Int[Array, "K"]  # Pixels.
    centroid_xy: Float[Array, "K 2"]  # Mean of the pixel centres.
    official_xy: Int[Array, "K 2"]  # Truncated mean of the pixel indices (column, row).
    box_xyxy: Int[Array, "K 4"]


@jax.jit
@typed
def rank_labels(labels: Int[Array, "*batch H W"], ids: Int[Array, "K"]):
    """Maps the ids to 1..K and every other label to 0.

    Args:
      labels: Any integers.
      ids: Positive and ascending; unused rows at the end are 0.
    """
    last = jnp.iinfo(ids.dtype).max
    keys = jnp.where(ids > 0, ids, last)
    row = jnp.searchsorted(keys, labels, method="scan_unrolled")
    row = jnp.minimum(row, len(ids) - 1)
    found = (ids[row] == labels) & (labels > 0)
    return jnp.where(found, row + 1, 0).astype(jnp.int32)


@jax.jit(static_argnames="num_segments")
@typed
def segment_statistics(
    labels_ranked: Int[Array, "H W"], num_segments: int
) -> SegmentStatistics:
    """Area, centroids and box of all segments in one pass.

    The counts per row and per column of each segment hold all of it: two scatters.

    Source: EgoSeg3D's observation, centroid truncated (`official_xy`). It may fall
      outside a mask that is not convex; see `centroid_inside`.
    """
    height, width = labels_ranked.shape
    ones = jnp.ones((), jnp.int32)
    columns = jnp.broadcast_to(jnp.arange(width), (height, width))
    rows = jnp.broadcast_to(jnp.arange(height)[:, None], (height, width))
    zeros = jnp.zeros((num_segments + 1, max(height, width)), jnp.int32)
    per_column = zeros.at[labels_ranked, columns].add(ones, mode="drop")[1:]
    per_row = zeros.at[labels_ranked, rows].add(ones, mode="drop")[1:]
    area = per_column.sum(1)
    x, y = _mean_index(per_column, area), _mean_index(per_row, area)
    centroid = jnp.stack([x[0] + x[1], y[0] + y[1]], -1) + 0.5
    (x0, x1), (y0, y1) = _extent(per_column), _extent(per_row)
    there = area[:, None] > 0
    return SegmentStatistics(
        area=area,
        centroid_xy=jnp.where(there, centroid, 0.0),
        official_xy=jnp.where(there, jnp.stack([x[0], y[0]], -1), 0),
        box_xyxy=jnp.where(there, jnp.stack([x0, y0, x1, y1], -1), 0),
    )


def _mean_index(counts: Array, area: Array) -> tuple[Array, Array]:
    """Mean position as whole part and fraction, exact for images up to 8k."""
    # Sums of positions overflow int32 for a 4k image: base 64, with carried remainder.
    index = jnp.arange(counts.shape[1])[None]
    high, low = (counts * (index // 64)).sum(1), (counts * (index % 64)).sum(1)
    safe = jnp.maximum(area, 1)
    rest = ((high % safe) * 64 + low).astype(jnp.uint32)
    safe = safe.astype(jnp.uint32)
    whole = (high // jnp.maximum(area, 1)) * 64 + (rest // safe).astype(jnp.int32)
    return whole, (rest % safe).astype(jnp.float32) / safe.astype(jnp.float32)


def _extent(counts: Array) -> tuple[Array, Array]:
    """First position with a pixel, and one past the last."""
    there = counts > 0
    first = jnp.argmax(there, axis=1)
    last = counts.shape[1] - jnp.argmax(there[:, ::-1], axis=1)
    return first, last


@jax.jit(static_argnames="num_segments")
@typed
def segment_medians(
    values: Float[Array, "H W"],
    labels_ranked: Int[Array, "H W"],
    num_segments: int,
    valid: Bool[Array, "H W"],
) -> tuple[Float[Array, "K"], Int[Array, "K"]]:
    """Exact median of the values in each segment, and how many values it rests on.

    An even number of values gives the mean of the middle two, as in NumPy. A segment
    without valid values gives NaN. NaN values are not valid.

    Differs: no sort. Order-preserving integer keys are selected digit by digit from
      histograms (11, 11 and 10 bits): three scatters, whatever the number of segments.
    """
    use = valid & ~jnp.isnan(values) & (labels_ranked > 0)
    segment = jnp.where(use, labels_ranked, 0).ravel()
    key = _sortable(values.ravel())
    count = jnp.zeros(num_segments + 1, jnp.int32).at[segment].add(1, mode="drop")
    low = _select(key, segment, (count - 1) // 2, num_segments)
    above = (key > low[segment]) & (segment > 0)
    last = jnp.uint32(0xFFFFFFFF)
    following = (
        jnp.full(num_segments + 1, last)
        .at[segment]
        .min(jnp.where(above, key, last), mode="drop")
    )
    up_to_low = jnp.zeros(num_segments + 1, jnp.int32)
    up_to_low = up_to_low.at[segment].add(~above, mode="drop")
    high = jnp.where(up_to_low > count // 2, low, following)
    low, high = _unsortable(low), _unsortable(high)
    # Halved before the sum: two large depths must not overflow; equal ones stay exact.
    middle = jnp.where(low == high, low, low * 0.5 + high * 0.5)
    return jnp.where(count > 0, middle, jnp.nan)[1:], count[1:]


def _sortable(values: Array) -> Array:
    """uint32 keys in the order of the floats."""
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
    sign = bits >> 31 == 1
    return jnp.where(sign, ~bits, bits | jnp.uint32(1 << 31))


def _unsortable(keys: Array) -> Array:
    sign = keys >> 31 == 0
    bits = jnp.where(sign, ~keys, keys ^ jnp.uint32(1 << 31))
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _select(key: Array, segment: Array, order: Array, num_segments: int) -> Array:
    """The key at place `order` (from 0) in every segment."""
    prefix = jnp.zeros(num_segments + 1, jnp.uint32)
    for shift, bits in ((21, 11), (10, 11), (0, 10)):
        digit = (key >> shift) & (2**bits - 1)
        # Shifting by 32 is undefined, so two steps.
        same = (key >> shift) >> bits == (prefix[segment] >> shift) >> bits
        table = jnp.zeros((num_segments + 1, 2**bits), jnp.int32)
        table = table.at[segment, digit.astype(jnp.int32)].add(same, mode="drop")
        upto = jnp.cumsum(table, axis=1)
        found = jnp.argmax(upto > order[:, None], axis=1)
        before = jnp.take_along_axis(upto - table, found[:, None], axis=1)[:, 0]
        order = order - before
        prefix = prefix | (found.astype(jnp.uint32) << shift)
    return prefix


@jax.jit(static_argnames="num_segments")
@typed
def centroid_inside(
    labels_ranked: Int[Array, "H W"],
    centroid_xy: Float[Array, "K 2"],
    num_segments: int,
) -> Int[Array, "K 2"]:
    """Column and row of the pixel of each segment that is nearest to its centroid.

    Ties go to the first pixel in reading order; a rank without pixels gives (0, 0).
    """
    height, width = labels_ranked.shape
    center = jnp.concatenate([jnp.zeros((1, 2)), centroid_xy])
    mine = center[labels_ranked]
    x = jnp.arange(width)[None, :] + 0.5 - mine[..., 0]
    y = jnp.arange(height)[:, None] + 0.5 - mine[..., 1]
    gap = x**2 + y**2
    segment = labels_ranked
    best = jnp.full(num_segments + 1, jnp.inf).at[segment].min(gap, mode="drop")
    index = jnp.arange(height * width).reshape(height, width)
    index = jnp.where(gap <= best[segment], index, height * width)
    first = (
        jnp.full(num_segments + 1, height * width)
        .at[segment]
        .min(index, mode="drop")[1:]
    )
    first = jnp.where(first < height * width, first, 0)
    return jnp.stack([first % width, first // width], -1)


@jax.jit(static_argnames="radius")
@typed
def erode_labels(
    labels: Int[Array, "*batch H W"], radius: int
) -> Int[Array, "*batch H W"]:
    """Erodes all labels at once by a square of side 2 radius + 1.

    A pixel keeps its label if its whole window has it; the window is cut at the border
    of the image, which therefore erodes nothing.
    """
    low = high = labels
    for axis in (-2, -1):
        low = _window(low, radius, axis, jnp.minimum)
        high = _window(high, radius, axis, jnp.maximum)
    return jnp.where(low == high, labels, 0)


def _window(x: Array, radius: int, axis: int, reduce) -> Array:
    pad = [(0, 0)] * x.ndim
    pad[axis] = (radius, radius)
    padded = jnp.pad(x, pad, mode="edge")
    size = x.shape[axis]
    out = x
    for shift in range(2 * radius + 1):
        part = jax.lax.slice_in_dim(padded, shift, shift + size, axis=axis % x.ndim)
        out = reduce(out, part)
    return out


@jax.jit
@typed
def masks_from_labels(
    labels: Int[Array, "*batch H W"], ids: Int[Array, "K"]
) -> Bool[Array, "*batch K H W"]:
    """One mask per id; an id of 0 (unused row) gives an empty mask."""
    rows = _along_masks(ids, labels.ndim + 1)
    return (labels[..., None, :, :] == rows) & (rows != 0)


@jax.jit
@typed
def labels_from_masks(
    masks: Bool[Array, "*batch K H W"], ids: Int[Array, "K"]
) -> Int[Array, "*batch H W"]:
    """Paints the masks in their order: where they overlap the last one is on top."""
    count = ids.shape[0]
    # The top mask of a pixel is the one with the highest row; 0 = none.
    order = _along_masks(jnp.arange(1, count + 1), masks.ndim)
    top = jnp.max(masks * order, axis=-3, initial=0)
    return jnp.concatenate([jnp.zeros((1,), ids.dtype), ids])[top].astype(jnp.int32)


def _along_masks(values: Array, ndim: int) -> Array:
    return values.reshape((1,) * (ndim - 3) + (-1, 1, 1))


@jax.jit
@typed
def boundaries(labels: Int[Array, "*batch H W"]) -> Bool[Array, "*batch H W"]:
    """Pixels of a label that touch another label (also the background) side by side."""
    down = labels[..., 1:, :] != labels[..., :-1, :]
    right = labels[..., :, 1:] != labels[..., :, :-1]
    none = [(0, 0)] * (labels.ndim - 2)
    edge = (
        jnp.pad(down, [*none, (1, 0), (0, 0)])
        | jnp.pad(down, [*none, (0, 1), (0, 0)])
        | jnp.pad(right, [*none, (0, 0), (1, 0)])
        | jnp.pad(right, [*none, (0, 0), (0, 1)])
    )
    return edge & (labels != 0)
