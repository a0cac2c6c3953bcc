"""Whole frames of radiance fields, chunk by chunk of rays.

Per-sample tensors exist for one chunk at a time; of a frame there are only the numbers
of its rays.
"""

import dataclasses
from collections.abc import Callable
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
from egojax.ops.numerics import safe_divide

CHUNK = 2048  # Rays.
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
