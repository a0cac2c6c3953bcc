"""Whole frames of radiance fields, chunk by chunk of rays.

Per-sample tensors exist for one chunk at a time; of a frame there are only the numbers
of its rays.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array

from egojax.data.stream_images import StreamImages
from egojax.methods import field_scene
from egojax.methods.field_rays import FieldRays, Rendered
from egojax.methods.field_scene import FieldScene
from egojax.methods.fields import Fields
from egojax.ops import camera as camera_ops
from egojax.ops.numerics import safe_divide
from egojax.types import Camera

CHUNK = 2048  # Rays.
LEAST_NEAR = 0.2  # Of the near end of a recorded view: where novel ones begin.
SOLID = 0.5  # Mass of the static stream from which on it has a depth.


def make_renderer(
    fields: Fields,
    model: nnx.Module,
    size_hw: tuple[int, int],
    *,
    suppress_actor: bool = False,
    chunk: int = CHUNK,
) -> Callable[[FieldScene, int], StreamImages]:
    """Returns render(scene, row): what the fields show of a row of a scene.

    The scene's rows need a camera, bounds, slot and look; its images are not read. Rows
    that are to be seen from another place have that one's camera (`seen_from`).

    Args:
      fields: What `model` belongs to.
      model: Its weights.
      size_hw: Of the frames.
      suppress_actor: Take the actor away, and see what it hides.
      chunk: Rays that are rendered at once.
    """
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    num_pixels = size_hw[0] * size_hw[1]
    render = _program(fields, graphdef, num_pixels, suppress_actor, chunk)

    def render_row(scene: FieldScene, row: int) -> StreamImages:
        alone = jax.tree.map(lambda leaf: leaf[row : row + 1], scene)
        # Of the images only their size is of use.
        blank = np.zeros((1, *size_hw, 3), np.uint8)
        found = render(params, rest, dataclasses.replace(alone, images=blank))
        flat: dict[str, np.ndarray] = {
            name: np.asarray(leaf).reshape(-1, *leaf.shape[2:])[:num_pixels]
            for name, leaf in found.items()
        }
        return _stacked(flat, size_hw)

    return render_row


@functools.lru_cache(maxsize=4)  # Other weights of a network need no new program.
def _program(
    fields: Fields, graphdef: Any, num_pixels: int, suppress_actor: bool, chunk: int
) -> Callable[..., dict[str, Array]]:
    """render(params, rest, scene of one row): its rays, in chunks."""
    chunk = min(chunk, num_pixels)
    num_chunks = -(-num_pixels // chunk)

    @jax.jit
    def render(params: Any, rest: Any, scene: FieldScene) -> dict[str, Array]:
        module = nnx.merge(graphdef, params, rest)

        def one(first: Array) -> dict[str, Array]:
            # The last chunk is full too; what it repeats is cut off again.
            pixel = jnp.minimum(first + jnp.arange(chunk), num_pixels - 1)
            frame = jnp.zeros_like(pixel)
            rays = field_scene.rays_of(
                scene, frame, pixel, official=fields.official_rays
            )
            return _ray_images(fields.render(module, rays, suppress_actor), rays)

        return lax.map(one, chunk * jnp.arange(num_chunks))

    return render


def _ray_images(seen: Rendered, rays: FieldRays) -> dict[str, Array]:
    """`StreamImages` of rays (R, ...), and not yet of pixels."""
    along = -rays.camera_dirs[:, 2]  # Camera z of a unit of distance.
    composite, static = seen.composite, seen.alone[0]
    depth = safe_divide(composite.depth, composite.opacity)
    solid = safe_divide(static.depth, static.mass)
    return dict(
        rgb=composite.rgb,
        parts=jnp.moveaxis(composite.parts, 0, 1),
        masks=jnp.moveaxis(composite.masks, 0, 1),
        depth=depth * along,
        static_rgb=static.rgb,
        static_depth=jnp.where(static.mass > SOLID, solid * along, jnp.inf),
        uncertainty=seen.uncertainty,
    )


def _stacked(rays: dict[str, np.ndarray], size_hw: tuple[int, int]) -> StreamImages:
    images = {k: v.reshape(*size_hw, *v.shape[1:]) for k, v in rays.items()}
    for name in ("parts", "masks"):
        images[name] = np.moveaxis(images[name], 2, 0)
    return StreamImages(**images)


def seen_from(scene: FieldScene, place: int) -> FieldScene:
    """All times of a scene, seen from where one row was: its camera and bounds.

    The actor, who lives in the axes of the camera, moves with it.
    """
    count = len(scene.near)

    def repeated(leaf: Any) -> Any:
        return np.repeat(np.asarray(leaf)[place : place + 1], count, axis=0)

    return dataclasses.replace(
        scene,
        camera=jax.tree.map(repeated, scene.camera),
        near=repeated(scene.near),
        far=repeated(scene.far),
    )


# ------------------------------------------------------------------------ novel views


def view_from(scene: FieldScene, row: int, camera: Camera) -> FieldScene:
    """One row: the time and look of a row of a scene, seen by any camera.

    Its bounds are those of the recorded camera that is nearest in place and direction,
    moved so that what that camera saw is within them: between a camera and its near end
    a field has learned nothing, and is often fog. A recorded camera gets its own
    bounds. The actor moves with the camera.

    Args:
      scene: Recorded frames.
      row: When.
      camera: One camera, with `size_hw`, of any lens.
    """
    seat = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32)[None], camera)
    place, ahead, distance = _nearest(scene, row, seat)
    near = float(scene.near[place])

    def of(values: Any, at: int) -> np.ndarray:
        return np.asarray(values)[at : at + 1]

    return FieldScene(
        images=of(scene.images, row),
        camera=seat,
        near=np.array([max(near + ahead, LEAST_NEAR * near)], np.float32),
        far=of(scene.far, place) + np.float32(distance),
        slots=of(scene.slots, row),
        looks=of(scene.looks, row),
    )


def _nearest(scene: FieldScene, row: int, seat: Camera) -> tuple[int, float, float]:
    """The row with the nearest camera; how far ahead, and how far away, that is.

    Of equals it is `row`.
    """

    def place_and_gaze(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        gaze = np.asarray(camera.w2c, np.float64)[:, 2, :3]
        return camera_ops.camera_centers(camera.w2c), gaze

    (places, gazes), (place, gaze) = map(place_and_gaze, (scene.camera, seat))
    distance = np.linalg.norm(places - place, axis=-1)
    # A step as long as the scene is deep counts as much as a turn of a radian.
    cost = distance / np.median(scene.far) + np.linalg.norm(gazes - gaze, axis=-1)
    best = row if cost[row] <= cost.min() else int(cost.argmin())
    return best, float((places[best] - place[0]) @ gaze[0]), float(distance[best])


def tiles_of(
    view: FieldScene, tile_hw: tuple[int, int], count: int
) -> Iterator[FieldScene]:
    """Cuts a view into count x count tiles of one size, row by row.

    Coarse and fine pictures are made of tiles of the same size, so that one renderer,
    compiled once, draws them all, and may stop between any two.

    Args:
      view: One row; its camera's `size_hw` is the image that is cut, resized to `count`
        times `tile_hw`.
      tile_hw: Pixels.
      count: Along each side.
    """
    height, width = tile_hw
    whole = camera_ops.scale_intrinsics(
        np.asarray(view.camera.intrinsics),
        view.camera.size_hw,
        (count * height, count * width),
    ).astype(np.float32)
    for top in range(0, count * height, height):
        for left in range(0, count * width, width):
            moved = whole.copy()
            moved[:, :2, 2] -= np.array([left, top], np.float32)
            camera = dataclasses.replace(view.camera, intrinsics=moved, size_hw=tile_hw)
            yield dataclasses.replace(view, camera=camera)


def joined(tiles: Sequence[StreamImages], count: int) -> StreamImages:
    """The picture that count x count tiles, row by row, are of."""

    def whole(name: str) -> np.ndarray:
        axis = 1 if name in ("parts", "masks") else 0  # Of height.
        parts = [getattr(tile, name) for tile in tiles]
        rows = [
            np.concatenate(parts[n : n + count], axis=axis + 1)
            for n in range(0, count * count, count)
        ]
        return np.concatenate(rows, axis=axis)

    return StreamImages(**{name: whole(name) for name in StreamImages._fields})
