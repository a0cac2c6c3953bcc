"""Light on a rendered frame, and the camera that records it.

Deferred: for every pixel the face, its texture, its normal; a lamp with cast shadows, a
window, light from all around dimmed in corners (screen-space occlusion); then exposure,
motion blur along the exact flow, lens blur, vignette, tone curve and sensor noise.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from egojax.data.world import render
from egojax.data.world.render import Layers, Scene, View
from egojax.data.world.state import World
from egojax.data.world.textures import TILE
from egojax.ops import raster
from egojax.ops.camera import pixel_centers

SHADOW_SIZE = (384, 384)
SHADOW_FOCAL = 0.42  # Of the map's width: 100 degrees across, below the lamp.
LEVELS = 5  # Of the texture pyramid.
NUM_AO = 8
MAX_BLUR = 0.035  # Of the width: the camera shortens its exposure.


@struct.dataclass
class Paint:
    """Looks of a world, on the device."""

    texels: Any  # float32 (N, 3): the pyramids of all tiles, flat.
    looks: Any  # float32 (M, 3): gloss, metres a tile, glow.
    face_uv: Any  # float32 (F, 3, 2)
    face_normals: Any  # float32 (F, 3, 3)
    face_material: Any  # int32 (F,)
    light_at: Any  # float32 (2, 3): window, lamp.


class Surface(NamedTuple):
    """What is seen at every pixel, in world axes."""

    albedo: Float[Array, "H W 3"]
    normal: Float[Array, "H W 3"]
    point: Float[Array, "H W 3"]
    gloss: Float[Array, "H W"]
    glow: Float[Array, "H W"]


def make_paint(world: World) -> Paint:
    """Puts the looks of a world on the device."""
    spare = -len(world.tiles) % 16
    levels = [np.pad(world.tiles, ((0, spare), (0, 0), (0, 0), (0, 0)))]
    for _ in range(LEVELS - 1):
        t = levels[-1]
        levels.append(
            (t[:, ::2, ::2] + t[:, 1::2, ::2] + t[:, ::2, 1::2] + t[:, 1::2, 1::2]) / 4
        )
    texels = np.concatenate([t.reshape(len(t), -1, 3) for t in levels], 1)
    return Paint(
        texels=jnp.asarray(texels.reshape(-1, 3)),
        looks=render.pad_rows(world.looks, 16),
        face_uv=render.pad_rows(world.face_uv),
        face_normals=render.pad_rows(world.face_normals),
        face_material=render.pad_rows(world.face_material),
        light_at=jnp.asarray(world.light_at),
    )


@jax.jit
def photograph(
    scene: Scene,
    paint: Paint,
    layers: Layers,
    view: View,
    before: View,
    light: Float[Array, "2"],
    key: Array,
) -> Array:
    """The recorded picture, uint8 (H, W, 3).

    Args:
      before: The view one frame earlier; motion since then blurs the picture.
      light: Strength of the window and of the lamp.
      key: For the sensor noise.
    """
    surface = _surface(scene, paint, layers, view)
    open_sky = _occlusion(layers, view, surface)
    lit = _shadow(scene, paint, view, surface)
    rgb = _radiance(paint, surface, view, light, open_sky, lit)
    rgb = _motion_blur(rgb, -0.45 * render.flow(scene, layers, view, before))
    return _sensor(rgb, key)


def _surface(scene: Scene, paint: Paint, layers: Layers, view: View) -> Surface:
    face = jnp.maximum(layers.face, 0)
    bary = render.corner_weights(scene, view, layers)
    material = paint.face_material[face]
    look = paint.looks[material]
    uv = jnp.einsum("hwij,hwi->hwj", paint.face_uv[face], bary)
    pose = view.poses[scene.face_body[face]]
    normal = jnp.einsum("hwij,hwi->hwj", paint.face_normals[face], bary)
    normal = _unit(jnp.einsum("hwij,hwj->hwi", pose[..., :3, :3], normal))
    inside = render.body_points(scene, face, bary)
    point = jnp.einsum("hwij,hwj->hwi", pose[..., :3, :3], inside) + pose[..., :3, 3]
    tile_m = look[..., 1]
    texel = tile_m / TILE
    footprint = (
        jnp.where(jnp.isfinite(layers.depth), layers.depth, 10.0)
        / view.intrinsics[0, 0]
    )
    level = jnp.round(jnp.log2(jnp.maximum(1.3 * footprint / texel, 1.0)))
    albedo = _sample(
        paint.texels, material, uv / tile_m[..., None], level.astype(jnp.int32)
    )
    return Surface(albedo, normal, point, look[..., 0], look[..., 2])


def _sample(texels: Array, material: Array, uv: Array, level: Array) -> Array:
    """Bilinear look-up in the pyramid of a tile that repeats."""
    level = jnp.clip(level, 0, LEVELS - 1)
    sizes = [TILE >> k for k in range(LEVELS)]
    starts = np.cumsum([0] + [s * s for s in sizes])
    size = jnp.array(sizes)[level]
    start = jnp.array(starts[:-1])[level] + material * int(starts[-1])
    at = (uv - jnp.floor(uv)) * size[..., None] - 0.5
    low = jnp.floor(at)
    part = at - low
    low = low.astype(jnp.int32)
    total = jnp.zeros((*material.shape, 3))
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = (low[..., 0] + dx) % size, (low[..., 1] + dy) % size
            wx = part[..., 0] if dx else 1.0 - part[..., 0]
            wy = part[..., 1] if dy else 1.0 - part[..., 1]
            total += (wx * wy)[..., None] * texels[start + y * size + x]
    return total


def _occlusion(layers: Layers, view: View, surface: Surface) -> Array:
    """Share of the surroundings that a point sees, (H, W): low in corners."""
    height, width = layers.depth.shape
    row, col = jnp.mgrid[:height, :width]
    depth = jnp.where(jnp.isfinite(layers.depth), layers.depth, 10.0)
    blocked = jnp.zeros((height, width))
    for k in range(NUM_AO):
        metres = 0.025 + 0.17 * (k / NUM_AO) ** 1.5
        # Golden angle; four patterns, averaged over 2 x 2 pixels below.
        angle = 2.399963 * k + 0.6 * (2 * (row % 2) + col % 2)
        pixels = jnp.clip(metres * view.intrinsics[0, 0] / depth, 1.0, 60.0)
        r = jnp.clip(row + (pixels * jnp.sin(angle)).astype(jnp.int32), 0, height - 1)
        c = jnp.clip(col + (pixels * jnp.cos(angle)).astype(jnp.int32), 0, width - 1)
        to = surface.point[r, c] - surface.point
        dist = jnp.sqrt(jnp.sum(to * to, -1) + 1e-8)
        up = jnp.sum(to * surface.normal, -1) / dist
        blocked += jnp.clip(up - 0.12, 0.0, 1.0) / (1.0 + (dist / (2.0 * metres)) ** 4)
    wide = jnp.pad(blocked, ((0, 1), (0, 1)), mode="edge")
    mean = (wide[:-1, :-1] + wide[1:, :-1] + wide[:-1, 1:] + wide[1:, 1:]) / 4.0
    return jnp.exp(-9.0 * mean / NUM_AO)


def _shadow(scene: Scene, paint: Paint, view: View, surface: Surface) -> Array:
    """Share of the lamp's light that arrives, (H, W), from a shadow map below it."""
    size = float(SHADOW_SIZE[0])
    focal = SHADOW_FOCAL * size
    intrinsics = jnp.array(
        [[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]]
    )
    down = jnp.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])
    shift = -down @ paint.light_at[1]
    w2c = jnp.eye(4).at[:3, :3].set(down).at[:3, 3].set(shift)
    lamp = View(intrinsics, w2c, view.poses)
    points = render.camera_points(scene, lamp)
    plan = render.make_plan(scene, points, intrinsics, SHADOW_SIZE)
    (face,) = raster.nearest_faces(plan, jnp.zeros_like, 1, SHADOW_SIZE)
    centers = pixel_centers(SHADOW_SIZE)
    depth, _ = render.surface(scene, points, intrinsics, face, centers)
    at = surface.point @ down.T + shift[None, None]
    xy = at[..., :2] / jnp.maximum(at[..., 2:], 0.1) * focal + size / 2
    total = jnp.zeros(at.shape[:2])
    taps = ((-0.9, -0.4), (0.4, -0.9), (0.9, 0.4), (-0.4, 0.9))
    for dx, dy in taps:
        c = jnp.clip(xy[..., 0] + 1.4 * dx, 0, size - 1).astype(jnp.int32)
        r = jnp.clip(xy[..., 1] + 1.4 * dy, 0, size - 1).astype(jnp.int32)
        total += at[..., 2] < depth[r, c] + 0.012
    inside = ((xy > 0) & (xy < size)).all(-1)
    return jnp.where(inside, total / len(taps), 1.0)


def _radiance(
    paint: Paint, s: Surface, view: View, light: Array, open_sky: Array, lit: Array
) -> Array:
    """Light towards the camera, linear RGB."""
    eye = -view.w2c[:3, :3].T @ view.w2c[:3, 3]
    to_eye = _unit(eye[None, None] - s.point)
    window, lamp = paint.light_at[:, None, None]
    day, bulb = jnp.array([[[0.86, 0.95, 1.1]]]), jnp.array([[[1.12, 0.98, 0.78]]])
    to_lamp, to_window = lamp - s.point, window - s.point
    lamp_dist2 = jnp.sum(to_lamp**2, -1)
    to_lamp, to_window = _unit(to_lamp), _unit(to_window)
    facing = jnp.clip(jnp.sum(s.normal * to_lamp, -1), 0.0, 1.0)
    soft = jnp.clip(0.45 + 0.55 * jnp.sum(s.normal * to_window, -1), 0.0, 1.0)
    up = 0.5 + 0.5 * s.normal[..., 2]
    fill = 0.10 + 0.12 * up
    direct = light[1] * 2.2 * facing * lit / (0.5 + lamp_dist2)
    around = (light[0] * (0.36 * soft**1.7) + fill) * open_sky
    diffuse = direct[..., None] * bulb + around[..., None] * day
    mirror = 2.0 * jnp.sum(s.normal * to_eye, -1, keepdims=True) * s.normal - to_eye
    shine = (
        jnp.clip(jnp.sum(mirror * to_lamp, -1), 0.0, 1.0) ** 60 * lit * light[1] * 1.6
    )
    pane = jnp.clip(jnp.sum(mirror * to_window, -1), 0.0, 1.0) ** 24 * light[0] * 0.9
    rim = 0.06 + 0.5 * (1.0 - jnp.clip(jnp.sum(s.normal * to_eye, -1), 0.0, 1.0)) ** 4
    room = (0.22 + 0.28 * jnp.clip(mirror[..., 2] + 0.3, 0.0, 1.0)) * open_sky
    glint = s.gloss * (0.55 * shine + 0.35 * pane + rim * room)
    rgb = s.albedo * diffuse + glint[..., None] * (0.5 * (day + bulb))
    return rgb + s.albedo * (s.glow * light[0])[..., None]


def _motion_blur(rgb: Array, shift: Array) -> Array:
    """Averages along the path of each pixel while the shutter is open."""
    height, width = rgb.shape[:2]
    row, col = jnp.mgrid[:height, :width]
    length = jnp.sqrt(jnp.sum(shift * shift, -1, keepdims=True) + 1e-6)
    shift = shift * jnp.minimum(1.0, MAX_BLUR * width / length)
    total = rgb
    # Each pixel looks at its own times, or long blurs would show as separate copies.
    dither = ((row * 7 + col * 11 + row * col) % 16 / 16.0 - 0.5) * 0.2
    for tap in (-0.4, -0.2, 0.2, 0.4):
        share = tap + dither
        r = jnp.clip(jnp.round(row + share * shift[..., 1]), 0, height - 1).astype(
            jnp.int32
        )
        c = jnp.clip(jnp.round(col + share * shift[..., 0]), 0, width - 1).astype(
            jnp.int32
        )
        total = total + rgb[r, c]
    return total / 5.0


def _sensor(rgb: Array, key: Array) -> Array:
    """Lens blur, vignette, noise of a small sensor, tone curve; uint8."""
    height, width = rgb.shape[:2]
    rgb = _blur(rgb)
    x = (jnp.arange(width) + 0.5) / width - 0.5
    y = ((jnp.arange(height) + 0.5) - 0.5 * height) / width
    rgb = rgb * (1.0 - 0.75 * (x[None, :] ** 2 + y[:, None] ** 2))[..., None]
    # One random word a pixel: a byte for the brightness, one for each colour.
    word = jax.random.bits(key, (height, width, 1), jnp.uint32)
    shifts = jnp.array([[[0, 8, 16, 24]]], jnp.uint32)
    unit = (((word >> shifts) & 255).astype(jnp.float32) - 127.5) / 73.9
    gray, chroma = unit[..., :1], _blur(unit[..., 1:])
    grain = jnp.sqrt(jnp.maximum(rgb, 0.0) * 4.0e-5 + 1.5e-6)
    rgb = jnp.maximum(rgb + grain * (0.8 * gray + 0.9 * chroma), 0.0)
    toned = rgb * (2.51 * rgb + 0.03) / (rgb * (2.43 * rgb + 0.59) + 0.14)
    display = jnp.clip(toned, 0.0, 1.0) ** (1.0 / 2.2)
    return (display * 255.0 + 0.5).astype(jnp.uint8)


def _blur(rgb: Array) -> Array:
    """A 3 x 3 binomial blur, edges repeated."""
    for axis in (0, 1):
        first = jax.lax.slice_in_dim(rgb, 0, 1, axis=axis)
        last = jax.lax.slice_in_dim(rgb, rgb.shape[axis] - 1, None, axis=axis)
        wide = jnp.concatenate([first, rgb, last], axis)
        count = rgb.shape[axis]
        parts = [jax.lax.slice_in_dim(wide, k, k + count, axis=axis) for k in range(3)]
        rgb = 0.13 * parts[0] + 0.74 * parts[1] + 0.13 * parts[2]
    return rgb


def _unit(v: Array) -> Array:
    return v / jnp.sqrt(jnp.maximum(jnp.sum(v * v, -1, keepdims=True), 1e-12))
