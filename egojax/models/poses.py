"""What the poses of frames are wrong by, as something that is learned."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from egojax.ops.camera import rotation_from_quaternion


class PoseErrors(nnx.Module):
    """How cameras are moved and turned, by the slot of their frames; at first not."""

    def __init__(self, num_slots: int):
        self.shift = nnx.Param(jnp.zeros((num_slots, 3)))  # Of some unit length; world.
        self.turn = nnx.Param(jnp.zeros((num_slots, 3)))  # Radians, while it is small.

    def moves(
        self, slots: Int[Array, "*batch"]
    ) -> tuple[Float[Array, "*batch 3"], Float[Array, "*batch 3 3"]]:
        """How far cameras are moved, and rotations in world axes about their centers.

        A turn w is the rotation of the quaternion (1, w / 2): smooth at zero, and up to
        third order that about w by its length.
        """
        half = 0.5 * self.turn[...][slots]
        one = jnp.ones_like(half[..., :1])
        turn = rotation_from_quaternion(jnp.concatenate([one, half], axis=-1))
        return self.shift[...][slots], turn

    def size(self, slots: Int[Array, "*batch"]) -> Float[Array, ""]:
        """Mean square of the moves of these, in unit lengths and radians."""
        return jnp.mean(self.shift[...][slots] ** 2) + jnp.mean(
            self.turn[...][slots] ** 2
        )
