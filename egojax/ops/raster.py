"""Which pixels triangles cover, on any device, without ever compiling for a frame.

A point b0 v0 + b1 v1 + b2 v2 of a triangle, its corners in camera axes, is seen in the
direction d = (x, y, 1) where b_i / z = d . (v_j x v_k) / det(v0, v1, v2). These linear
forms of the pixel are all there is: it is covered where none is negative, and their
sum is 1 / z. As nothing was divided by the corners' depths, a triangle that passes
through the plane of the camera needs no clipping.

The window of a triangle on the image is cut into blocks of BLOCK x BLOCK pixels. The
blocks of all triangles are drawn in rounds of fixed shape, as many as the frame needs,
so that large and small triangles cost what they cover and no capacity can overflow.
(Positions in the list of blocks are int32: 2^35 pixels a frame, hidden ones included.)

Source: Olano and Greer 1997 (Triangle scan conversion, 2D homogeneous coordinates).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

BLOCK = 4  # Pixels.
BATCH = 2048  # Blocks a round.
LANES = 32  # Rows of the table in which triangles are counted.
SLACK = 1e-3  # Pixels by which a window exceeds its triangle: float32 at 10,000 pixels.

TIE = 1e-6  # Relative; of depths closer than this the face of least index is nearest.

Vec = tuple[Array, Array, Array]  # x, y, z: arrays of one shape.
Value = Callable[[Array, Array, Array], Array]
Layer = Callable[[Array], Array]


def corners_of(points: Vec, faces: Array, idx: Array) -> list[Vec]:
    """The three corners of the faces `idx`."""
    picked = (faces[:, i][idx] for i in range(3))
    return [(points[0][at], points[1][at], points[2][at]) for at in picked]


def _minus(a: Vec, b: Vec) -> Vec:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _cross(a: Vec, b: Vec) -> Vec:
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )


def dot(a: Vec, b: Vec) -> Array:
    """The sum of products."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _edge_form(a: Vec, b: Vec) -> Vec:
    """a x b, from the difference of the two, which loses fewer digits.

    The two triangles at an edge name its ends in opposite order. Ordered by their
    coordinates, both get the same digits, and no pixel falls between them.
    """
    swap = (a[0] == b[0]) & (a[1] == b[1]) & (a[2] > b[2])
    swap |= (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] > b[1]))
    first = jax.tree.map(lambda x, y: jnp.where(swap, y, x), a, b)
    second = jax.tree.map(lambda x, y: jnp.where(swap, x, y), a, b)
    form = _cross(first, _minus(second, first))
    return jax.tree.map(lambda x: jnp.where(swap, -x, x), form)


class Forms(NamedTuple):
    """Linear forms of the direction (x, y, 1); all 0 for a triangle without area."""

    inv_z: Vec  # 1 / z
    parts: tuple[Vec, Vec, Vec]  # |det| b_i / z: what neighbors share, bit by bit.


def forms_over_z(corners: list[Vec]) -> Forms:
    """The forms of triangles."""
    v0, v1, v2 = corners
    normal = _cross(_minus(v1, v0), _minus(v2, v0))
    det = dot(normal, v0)
    inv_det = jnp.where(det == 0, 0.0, 1.0 / jnp.where(det == 0, 1.0, det))
    edges = (_edge_form(v1, v2), _edge_form(v2, v0), _edge_form(v0, v1))
    inv_z = jax.tree.map(lambda form: form * inv_det, normal)
    # Only the sign: a factor would round, and open cracks between neighbors.
    return Forms(inv_z, jax.tree.map(lambda form: form * jnp.sign(det), edges))


def unproject(intrinsics: Array, u: Array, v: Array) -> tuple[Array, Array]:
    """(x, y) of the directions (x, y, 1) of image points."""
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1]
    return (u - intrinsics[0, 2] - intrinsics[0, 1] * y) / intrinsics[0, 0], y


def at_directions(forms: Forms, x: Array, y: Array) -> tuple[Array, list[Array]]:
    """1 / z and the weights of the corners, which sum to |det| / z."""
    values = [a * x + b * y + c for a, b, c in (forms.inv_z, *forms.parts)]
    return values[0], values[1:]


def planes_at(
    points: Vec, faces: Array, face_idx: Array, x: Array, y: Array
) -> tuple[Array, Array]:
    """Depth of the plane of a face in a direction (x, y, 1), and its corners' weights.

    The weights, in space (not on the screen), are on a last axis and sum to 1. Where
    the face is -1, or its plane is not ahead, the depth is +inf and the weights are 0.
    Differentiable in the points.
    """
    corners = corners_of(points, faces, jnp.maximum(face_idx, 0))
    inv_z, parts = at_directions(forms_over_z(corners), x, y)
    # Depth does not look at the weights, so that they cost nothing where it is alone.
    is_ahead = (face_idx >= 0) & (inv_z > 0)
    depth = jnp.where(is_ahead, 1.0 / jnp.where(is_ahead, inv_z, 1.0), jnp.inf)
    total = sum(parts[1:], parts[0])
    is_solid = is_ahead & (total > 0)
    weights = jnp.stack(parts, -1) / jnp.where(is_solid, total, 1.0)[..., None]
    return depth, jnp.where(is_solid[..., None], weights, 0.0)


class Plan(NamedTuple):
    """The triangles to draw, and all that drawing them takes."""

    points: Vec  # Vertices in camera axes.
    faces: Int[Array, "F 3"]
    origin: Int[Array, "2 F"]  # First column and row of each window.
    blocks: Int[Array, "2 F"]  # Columns and rows of blocks in each window.
    order: Int[Array, "P"]  # The drawn rows of `faces`, padded by BATCH.
    first: Int[Array, "P"]  # Of each drawn triangle, its first block in the list.
    num_blocks: Int[Array, ""]
    intrinsics: Float[Array, "3 3"]
    clip: tuple[Any, Any]  # Near and far.


def make_plan(
    points: Vec,
    faces: Array,
    intrinsics: Array,
    clip: tuple[Any, Any],
    cull: bool,
    size_hw: tuple[int, int],
    keep: Array | bool = True,
) -> Plan:
    """Leaves out what cannot be seen, and lists the blocks of the rest.

    The triangles stand in a table of LANES rows, and sums run down all its columns at
    once: one long running sum would take several times as long.
    """
    num, columns = len(faces), -(-len(faces) // LANES)
    # Bits of depths and places in lists are 32 wide, also where 64 are the default.
    points, intrinsics, clip = jax.tree.map(jnp.float32, (points, intrinsics, clip))
    faces = faces.astype(jnp.int32)
    corners = corners_of(points, faces, jnp.arange(num))
    edges = _minus(corners[1], corners[0]), _minus(corners[2], corners[0])
    facing = dot(_cross(*edges), corners[0])
    drawn = keep & (facing < 0 if cull else facing != 0)
    spare = LANES * columns - num

    def table(a: Array) -> Array:
        """(..., F) as (LANES, ..., columns), spare places filled with 0."""
        a = jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, spare)])
        return jnp.moveaxis(a.reshape(*a.shape[:-1], LANES, columns), -2, 0)

    def look(total: Array, row: tuple[Array, ...]) -> tuple[Array, tuple]:
        drawn, low, high = row
        origin, blocks = _window(low, high, size_hw)
        blocks = jnp.where(drawn[None, :], blocks, 0)
        count = blocks[0] * blocks[1]
        after = total + jnp.stack([count > 0, count]).astype(jnp.int32)
        return after, (origin, blocks, total)

    rows = (drawn, *_bounds(corners, intrinsics, clip[0]))
    rows = tuple(table(a) for a in rows)
    zero = jnp.zeros((2, columns), jnp.int32)
    total, (origin, blocks, before) = lax.scan(look, zero, rows)
    before = before + (jnp.cumsum(total, 1, dtype=jnp.int32) - total)[None]
    origin, blocks, before = (
        jnp.moveaxis(a, 1, 0).reshape(2, -1)[:, :num] for a in (origin, blocks, before)
    )
    place = jnp.where(blocks[0] > 0, before[0], num + BATCH)
    num_blocks = total[1].sum(dtype=jnp.int32)
    order = jnp.zeros(num + BATCH, jnp.int32)
    order = order.at[place].set(jnp.arange(num, dtype=jnp.int32), mode="drop")
    first = jnp.full(num + BATCH, num_blocks).at[place].set(before[1], mode="drop")
    return Plan(
        points, faces, origin, blocks, order, first, num_blocks, intrinsics, clip
    )


def _window(low: Array, high: Array, size_hw: tuple[int, int]) -> tuple[Array, Array]:
    """First pixels (2, F) of triangles' windows, and their blocks; 0 = out of view."""
    size = jnp.array(size_hw[::-1], jnp.float32)[:, None]
    first = jnp.clip(jnp.ceil(low - 0.5 - SLACK), 0.0, size)
    last = jnp.clip(jnp.floor(high - 0.5 + SLACK), -1.0, size - 1.0)
    blocks = jnp.floor((last - first) / BLOCK).astype(jnp.int32) + 1
    is_seen = (last >= first).all(0)
    return first.astype(jnp.int32), jnp.where(is_seen[None, :], blocks, 0)


def _bounds(corners: list[Vec], intrinsics: Array, near: Any) -> tuple[Array, Array]:
    """Least and greatest (u, v), each (2, F), of what lies beyond the near plane."""
    ends = [(corner, corner[2] >= near) for corner in corners]
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        # Where an edge passes through the near plane.
        gap = b[2] - a[2]
        t = (near - a[2]) / jnp.where(gap == 0, 1.0, gap)
        cut = jax.tree.map(lambda p, q, t=t: p + t * (q - p), a, b)
        ends.append((cut, (a[2] < near) != (b[2] < near)))
    (fx, skew, cx), (_, fy, cy), _ = intrinsics
    low, high = [], []
    for (x, y, z), is_seen in ends:
        inv_z = 1.0 / jnp.maximum(z, 0.5 * near)
        at = jnp.stack([(fx * x + skew * y) * inv_z + cx, fy * y * inv_z + cy])
        low.append(jnp.where(is_seen[None, :], at, jnp.inf))
        high.append(jnp.where(is_seen[None, :], at, -jnp.inf))
    return functools.reduce(jnp.minimum, low), functools.reduce(jnp.maximum, high)


def nearest_faces(
    plan: Plan, layer: Layer, num_layers: int, size_hw: tuple[int, int]
) -> Int[Array, "L H W"]:
    """The face of least depth of every layer at every pixel; -1 = none.

    Two passes with one program: the greatest 1 / z, whose bits as an integer are
    ordered as it is, and then the least face that comes within `TIE` of it.

    Args:
      layer: Of a face, 0 .. L - 1.
    """
    num, pixels = len(plan.faces), size_hw[0] * size_hw[1]

    def one_pass(i: Array, nearest: Array) -> Array:
        bound = lax.bitcast_convert_type(nearest, jnp.float32) * (1.0 - TIE)
        bound = bound.reshape(-1)

        def value(face: Array, pixel: Array, inv_z: Array) -> Array:
            is_best = (inv_z > 0) & (inv_z >= bound[layer(face) * pixels + pixel])
            bits = lax.bitcast_convert_type(inv_z, jnp.int32)
            return jnp.where(i == 0, bits, jnp.where(is_best, num - face, 0))

        return draw(plan, value, layer, jnp.zeros_like(nearest))

    canvas = jnp.zeros((num_layers, *size_hw), jnp.int32)
    rank = lax.fori_loop(0, 2, one_pass, canvas)
    return jnp.where(rank > 0, num - rank, -1)


def nearest_depth(plan: Plan, size_hw: tuple[int, int]) -> Float[Array, "H W"]:
    """The least depth at every pixel, +inf where no face is; one pass."""

    def bits(face: Array, pixel: Array, inv_z: Array) -> Array:
        return lax.bitcast_convert_type(inv_z, jnp.int32)

    canvas = jnp.zeros((1, *size_hw), jnp.int32)
    greatest = draw(plan, bits, jnp.zeros_like, canvas)[0]
    inv_z = lax.bitcast_convert_type(greatest, jnp.float32)
    return jnp.where(inv_z > 0, 1.0 / jnp.where(inv_z > 0, inv_z, 1.0), jnp.inf)


def covered(
    plan: Plan, layer: Layer, num_layers: int, size_hw: tuple[int, int]
) -> Bool[Array, "L H W"]:
    """The pixels that the faces of every layer cover, seen or hidden.

    Args:
      layer: Of a face, 0 .. L - 1; L may be 0 if there is no face.
    """
    canvas = jnp.zeros((num_layers, *size_hw), jnp.uint8)
    if not canvas.size:
        return canvas > 0

    def mark(face: Array, pixel: Array, inv_z: Array) -> Array:
        return (inv_z > 0).astype(jnp.uint8)

    return draw(plan, mark, layer, canvas) > 0


def draw(plan: Plan, value: Value, layer: Layer, canvas: Array) -> Array:
    """The maximum of a canvas (L, H, W) and the values of all triangles.

    Args:
      value: Of a face, a pixel (its flat index) and 1 / z there (0 = not covered).
      layer: Of a face, 0 .. L - 1.
    """
    _, height, width = canvas.shape
    rows, cols = min(BLOCK, height), min(BLOCK, width)

    def body(i: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        start, flat = state
        at, nth = _round(plan, start, i * BATCH)
        face = plan.order[at]
        is_used = i * BATCH + _each() < plan.num_blocks
        across = jnp.maximum(plan.blocks[0][face], 1)
        # Blocks are shifted rather than cut at the right and lower border.
        u = jnp.minimum(plan.origin[0][face] + BLOCK * (nth % across), width - cols)
        v = jnp.minimum(plan.origin[1][face] + BLOCK * (nth // across), height - rows)
        forms = forms_over_z(corners_of(plan.points, plan.faces, face))

        def test() -> tuple[Array, Array]:
            # Axes: rows and columns of the block, blocks.
            shown, used, owner = jax.tree.map(
                lambda a: a[None, None, :], (forms, is_used, face)
            )
            x = u[None, None, :] + jnp.arange(cols, dtype=jnp.int32)[None, :, None]
            y = v[None, None, :] + jnp.arange(rows, dtype=jnp.int32)[:, None, None]
            inv_z = jnp.where(used, _covered(plan, shown, x, y), 0.0)
            pixel = y * width + x
            place = layer(owner) * (height * width) + pixel
            return place, value(owner, pixel, inv_z)

        def skip() -> tuple[Array, Array]:
            shape = (rows, cols, BATCH)
            return jnp.zeros(shape, jnp.int32), jnp.zeros(shape, flat.dtype)

        # The branch is there to keep XLA from computing, again for each pixel that it
        # scatters, what goes in and what comes out: 3 times as fast on a CPU.
        pixel, values = lax.cond(is_used[0], test, skip)
        pixel, values = pixel.reshape(-1), values.reshape(-1)
        return at[-1], flat.at[pixel].max(values, mode="promise_in_bounds")

    rounds = -(-plan.num_blocks // BATCH)
    first = jnp.int32(0), canvas.reshape(-1)
    return lax.fori_loop(0, rounds, body, first)[1].reshape(canvas.shape)


def _round(plan: Plan, start: Array, block: Array) -> tuple[Array, Array]:
    """For BATCH blocks from `block` on: whose each is, and its rank there.

    Every triangle has a block, so these are among the BATCH that follow `start`, the
    triangle of the block before.
    """
    first = lax.dynamic_slice(plan.first, (start,), (BATCH,)) - block
    # Those that began before count for the first block.
    begins = jnp.zeros(BATCH, jnp.int32).at[jnp.maximum(first, 0)].add(1, mode="drop")
    at = start + jnp.cumsum(begins, dtype=jnp.int32) - 1
    return at, block + _each() - plan.first[at]


def _each() -> Array:
    return jnp.arange(BATCH, dtype=jnp.int32)


def _covered(plan: Plan, forms: Forms, x: Array, y: Array) -> Array:
    """1 / z of triangles at pixels; 0 where they do not cover them."""
    x, y = unproject(plan.intrinsics, x + 0.5, y + 0.5)
    inv_z, parts = at_directions(forms, x, y)
    near, far = plan.clip
    inside = (parts[0] >= 0) & (parts[1] >= 0) & (parts[2] >= 0)
    inside &= (inv_z * near <= 1.0) & (inv_z * far >= 1.0)
    return jnp.where(inside, inv_z, 0.0)
