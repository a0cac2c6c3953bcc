"""Rays as radiance fields take them, and what is seen along them."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from egojax.models.poses import PoseErrors
from egojax.ops import camera as camera_ops
from egojax.ops.render import Alone, Composite
from egojax.types import Camera, typed


@struct.dataclass
class FieldRays:
    """Rays, and all that a field must know of their frames."""

    ray_origins: Float[Array, "R 3"]  # World.
    ray_dirs: Float[Array, "R 3"]  # World, unit length.
    camera_dirs: Float[Array, "R 3"]  # The same: right, up, backward; from the origin.
    near: Float[Array, "R"]
    far: Float[Array, "R"]
    slots: Int[Array, "R"]  # When.
    looks: Int[Array, "R"]  # Whose appearance code.


@jax.jit(static_argnames="first_order")
@typed
def field_rays(
    camera: Camera,
    xy: Float[Array, "R 2"],
    near: Float[Array, "R"],
    far: Float[Array, "R"],
    slots: Int[Array, "R"],
    looks: Int[Array, "R"],
    *,
    first_order: bool = False,
) -> FieldRays:
    """The rays of pixels, each of a camera of its own.

    Args:
      camera: (R,) cameras.
      xy: Pixels; the published code takes a pixel at its outer corner, (0, 0) for the
        first, where its center is (0.5, 0.5).
      near, far: Distances along the rays. (Published files hold camera z, and the
        published code takes it for a distance.)
      slots, looks: See `FieldRays`.
      first_order: Undo the lens by one step of its radial terms, as
        epic-fields-rendering does, and not exactly.
    """
    if first_order:
        local = _first_order_directions(camera, xy)
    else:
        local = camera_ops.directions(camera, xy[:, None])[:, 0]
    local = local / jnp.linalg.norm(local, axis=-1, keepdims=True)
    turn, shift = camera.w2c[:, :3, :3], camera.w2c[:, :3, 3]
    return FieldRays(
        ray_origins=-jnp.einsum("rij,ri->rj", turn, shift),
        ray_dirs=jnp.einsum("rij,ri->rj", turn, local),
        camera_dirs=local * jnp.array([[1.0, -1.0, -1.0]]),
        near=near,
        far=far,
        slots=slots,
        looks=looks,
    )


def _first_order_directions(camera: Camera, xy: Array) -> Array:
    straight = dataclasses.replace(camera, lens="pinhole", distortion=None)
    plane = camera_ops.directions(straight, xy[:, None])[:, 0]
    if camera.distortion is None:
        return plane
    k1, k2 = jnp.asarray(camera.distortion)[:, :2].T
    square = (plane[:, :2] ** 2).sum(-1)
    shrink = 1.0 - (k1 * square + k2 * square**2)
    return jnp.concatenate([plane[:, :2] * shrink[:, None], plane[:, 2:]], -1)


def moved_rays(rays: FieldRays, errors: PoseErrors, unit: Array) -> FieldRays:
    """The same pixels of cameras without what their poses are wrong by.

    Args:
      errors: Moves, in world axes, of the slots of the rays,
      unit: and what their shifts are measured in, world units.
    """
    shift, turn = errors.moves(rays.slots)
    return dataclasses.replace(
        rays,
        ray_origins=rays.ray_origins + unit * shift,
        ray_dirs=jnp.einsum("rij,rj->ri", turn, rays.ray_dirs),
    )


class Rendered(NamedTuple):
    """What rays see."""

    composite: Composite
    uncertainty: Float[Array, "R"]
    alone: tuple[Alone, ...]  # Of each stream.
