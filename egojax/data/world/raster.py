"""One sweep over the triangles of a frame: nearest face per layer, amodal masks.

Triangles are sorted into classes by their extent in pixels; each class has a window of
fixed size and a loop of as many rounds as the frame needs, so that nothing is
recompiled from frame to frame and no capacity can overflow. A fragment is one uint32:
17 bits of 1 / depth above 15 bits of face id. Visibility is then one integer maximum,
the same in any order and on any device; exact depth comes from the face afterwards.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from egojax.types import typed

MAX_FACES = 2**15
NEAR = 0.05  # Metres; a triangle that reaches nearer is left out.
SCATTERED = ((4, 512), (8, 128), (16, 32))  # Window in pixels, triangles a round.
SLICED = (32, 64, 128)  # Windows for one triangle a round; larger ones take the image.
PAD = 128  # Windows may hang over the right and lower border by this much.


class Sweep(NamedTuple):
    """What a frame's triangles cover."""

    face: Int[Array, "L H W"]  # Nearest face of each layer; -1 = none.
    covered: Bool[Array, "K H W"]  # Pixels of each object, seen or hidden.


class Triangles(NamedTuple):
    """Screen triangles, ready to be tested at pixels."""

    bary: Float[Array, "F 3 3"]  # Barycentric b_i = (x, y, 1) . bary[i], from `origin`.
    inv_z: Float[Array, "F 3"]  # 1 / depth = (x, y, 1) . inv_z, from `origin`.
    origin: Int[Array, "F 2"]  # The first pixel (x, y) of the window.
    window: Int[Array, "F"]  # Class, 0 = smallest window; NUM_CLASSES = not drawn.


NUM_CLASSES = len(SCATTERED) + len(SLICED) + 1


@typed
def set_up(
    vertices: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    intrinsics: Float[Array, "3 3"],
    size_hw: tuple[int, int],
) -> Triangles:
    """Projects vertices (camera axes) and sorts out what cannot be seen."""
    height, width = size_hw
    z = vertices[:, 2]
    ahead = jnp.where(z > NEAR, z, 1.0)
    scale = jnp.stack([intrinsics[0, 0], intrinsics[1, 1]])
    xy = vertices[:, :2] / ahead[:, None] * scale[None] + intrinsics[None, :2, 2]
    corner, inv = xy[faces], 1.0 / ahead[faces]
    low = jnp.clip(jnp.ceil(corner.min(1) - 0.5), 0.0, 1e6)
    size = jnp.array([width, height], jnp.float32)
    high = jnp.minimum(jnp.floor(corner.max(1) - 0.5), size[None] - 1.0)
    origin = low.astype(jnp.int32)
    c = corner - (low[:, None] + 0.5)  # From the first pixel's center.
    nxt, last = jnp.roll(c, -1, axis=1), jnp.roll(c, -2, axis=1)
    # Edge function of the side opposite to each corner; front faces have area < 0.
    lin = jnp.stack([nxt[..., 1] - last[..., 1], last[..., 0] - nxt[..., 0]], -1)
    const = nxt[..., 0] * last[..., 1] - nxt[..., 1] * last[..., 0]
    area = const.sum(-1)
    safe = jnp.where(area < -1e-9, area, -1.0)
    bary = jnp.concatenate([lin, const[..., None]], -1) / safe[:, None, None]
    extent = (high - low).max(-1) + 1.0
    drawn = (area < -1e-9) & (z[faces] > NEAR).all(-1) & (high >= low).all(-1)
    sizes = jnp.array([s for s, _ in SCATTERED] + list(SLICED), jnp.float32)
    window = jnp.searchsorted(sizes, extent, method="compare_all")
    return Triangles(
        bary=bary,
        inv_z=jnp.einsum("fi,fij->fj", inv, bary),
        origin=origin,
        window=jnp.where(drawn, window, NUM_CLASSES).astype(jnp.int32),
    )


@typed
def sweep(
    tri: Triangles,
    layer: Int[Array, "F"],
    obj: Int[Array, "F"],
    num_objects: int,
    size_hw: tuple[int, int],
    num_layers: int = 2,
) -> Sweep:
    """Finds the nearest face of every layer at every pixel, and what objects cover.

    Args:
      layer: 0 .. num_layers - 1.
      obj: 0 .. num_objects - 1; anything else has no amodal mask.
    """
    num_faces = len(layer)
    if num_faces > MAX_FACES:
        raise ValueError(f"{num_faces} faces, at most {MAX_FACES} fit into a fragment")
    height, width = size_hw
    shape = (height + PAD, width + PAD)
    # Within a class, objects come last: the room's rounds skip the amodal masks.
    is_obj = (obj >= 0) & (obj < num_objects)
    group = jnp.where(
        tri.window < NUM_CLASSES, 2 * tri.window + is_obj, 2 * NUM_CLASSES
    )
    order = jnp.argsort(group, stable=True).astype(jnp.int32)
    order = jnp.concatenate([order, jnp.zeros(max(n for _, n in SCATTERED), jnp.int32)])
    counts = jnp.zeros(2 * NUM_CLASSES + 1, jnp.int32).at[group].add(1)
    starts = jnp.cumsum(counts) - counts
    keys = jnp.zeros((num_layers, *shape), jnp.uint32)
    masks = jnp.zeros((max(num_objects, 1), *shape), jnp.uint8)
    for g in range(2 * NUM_CLASSES):
        if g % 2 and not num_objects:
            continue
        span = order, starts[g], counts[g]
        draw = _scattered if g // 2 < len(SCATTERED) else _sliced
        keys, masks = draw(tri, layer, obj, span, g, keys, masks, size_hw)
    keys = keys[:, :height, :width]
    face = (keys & (MAX_FACES - 1)).astype(jnp.int32)
    covered = masks[:num_objects, :height, :width] > 0
    return Sweep(face=jnp.where(keys > 0, face, -1), covered=covered)


def _fragment(tri: Triangles, face: Array, x: Array, y: Array, valid: Array) -> Array:
    """The packed fragment of a face at pixels (x, y) of its window; 0 = not inside.

    `face` and `valid` have the leading axes of x and y, which end in rows and columns.
    """
    bary, inv = tri.bary[face], tri.inv_z[face]
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)

    def plane(c: Array) -> Array:
        return (
            c[..., 0, None, None] * x
            + c[..., 1, None, None] * y
            + c[..., 2, None, None]
        )

    inside = (plane(bary[..., 0, :]) >= -1e-6) & (plane(bary[..., 1, :]) >= -1e-6)
    inside &= (plane(bary[..., 2, :]) >= -1e-6) & valid[..., None, None]
    near = jnp.clip(plane(inv) * NEAR, 0.0, 1.0)  # In (0, 1]: 1 at the near plane.
    packed = (near * (2**17 - 2)).astype(jnp.uint32) + 1
    packed = packed * MAX_FACES + face[..., None, None].astype(jnp.uint32)
    return jnp.where(inside, packed, jnp.uint32(0))


def _scattered(tri, layer, obj, span, group, keys, masks, size_hw):
    """Small triangles, many a round, each pixel scattered on its own."""
    (order, start, count), (size, batch) = span, SCATTERED[group // 2]
    shape, (height, width) = keys.shape, size_hw
    step = jnp.arange(size)
    x, y = step[None, None, :], step[None, :, None]

    def body(i, state):
        keys, masks = state
        face = lax.dynamic_slice(order, (start + i * batch,), (batch,))
        valid = i * batch + jnp.arange(batch) < count
        key = _fragment(tri, face, x, y, valid)
        px = tri.origin[face, 0, None, None] + x
        py = tri.origin[face, 1, None, None] + y
        key = jnp.where((px < width) & (py < height), key, 0)
        flat = py * shape[2] + px
        plane = shape[1] * shape[2]
        at = (flat + layer[face, None, None] * plane).reshape(-1)
        keys = keys.at[at].max(key.reshape(-1), mode="drop")
        if group % 2:
            at = (flat + obj[face, None, None] * plane).reshape(-1)
            masks = masks.at[at].max(
                (key > 0).astype(jnp.uint8).reshape(-1), mode="drop"
            )
        return keys, masks

    rounds = (count + batch - 1) // batch
    flat_keys, flat_masks = lax.fori_loop(
        0, rounds, body, (keys.reshape(-1), masks.reshape(-1))
    )
    return flat_keys.reshape(keys.shape), flat_masks.reshape(masks.shape)


def _sliced(tri, layer, obj, span, group, keys, masks, size_hw):
    """Large triangles, one a round, into a window of the image."""
    order, start, count = span
    k = group // 2 - len(SCATTERED)
    rows, cols = (SLICED[k], SLICED[k]) if k < len(SLICED) else keys.shape[1:]
    x, y = jnp.arange(cols)[None, :], jnp.arange(rows)[:, None]

    def body(i, state):
        keys, masks = state
        face = order[start + i]
        ox, oy = tri.origin[face]
        if k == len(SLICED):
            ox, oy = jnp.zeros_like(ox), jnp.zeros_like(oy)
        dx, dy = x + ox - tri.origin[face, 0], y + oy - tri.origin[face, 1]
        key = _fragment(tri, face, dx, dy, jnp.bool_(True))[None]
        at = (layer[face], oy, ox)
        old = lax.dynamic_slice(keys, at, (1, rows, cols))
        keys = lax.dynamic_update_slice(keys, jnp.maximum(old, key), at)
        if group % 2:
            at = (obj[face], oy, ox)
            old = lax.dynamic_slice(masks, at, (1, rows, cols))
            new = jnp.maximum(old, (key > 0).astype(jnp.uint8))
            masks = lax.dynamic_update_slice(masks, new, at)
        return keys, masks

    return lax.fori_loop(0, count, body, (keys, masks))
