"""The motion that most of the image shares, from trajectories.

From one frame of a window to each other one, the dominant motion is a quadratic
polynomial of the position: what a plane does before a camera that turns and moves
little. Points that do not follow it lose their weight while the scale of what counts
as following falls.

Differs from a rigid motion in perspective (Sturm & Triggs 1996), which explains by some
depth whatever moves along the lines that parallax would move it: in windows of a few
frames that is most of what moves by itself.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from egojax.types import ArrayLike, typed

# Pixels that a point may be off, from the first round of weights to the last.
SCALES = (8.0, 4.0, 2.0, 1.0, 1.0)
RIDGE = 1e-6  # Of the trace of the normal equations.


@jax.jit
@typed
def dominant_residual(
    tracks: Float[ArrayLike, "T N 2"], weights: Float[ArrayLike, " N"]
) -> Float[Array, "T N 2"]:
    """What of each trajectory the dominant motion does not explain, in pixels.

    Args:
      tracks: Pixels; finite. The motion starts in the middle frame, where the residual
        is 0.
      weights: >= 0; 0 is padding. Points that stand close together should weigh less.

    Returns:
      Residuals of all points. With fewer than six points that weigh anything a motion
      of less freedom, that of the ridge.
    """
    tracks, weights = jnp.asarray(tracks), jnp.asarray(weights)
    start = tracks[len(tracks) // 2]
    moves = tracks - start[None]
    basis = _quadratic(start, weights)

    def one_round(share: Array, scale: Array) -> tuple[Array, Array]:
        counts = (weights * share)[:, None]
        normal = jnp.einsum("ni,nj->ij", basis * counts, basis, precision="highest")
        right = jnp.einsum("ni,tnc->tic", basis * counts, moves, precision="highest")
        ridge = RIDGE * jnp.trace(normal) + 1e-12
        theta = jnp.linalg.solve(
            normal + ridge * jnp.eye(6), jnp.moveaxis(right, 1, 0).reshape(6, -1)
        )
        theta = theta.reshape(6, len(tracks), 2)
        residual = moves - jnp.einsum("ni,itc->tnc", basis, theta, precision="highest")
        square = (residual**2).sum(-1).mean(0) / scale**2
        return 1 / (1 + square) ** 2, residual

    scales = jnp.asarray(SCALES, tracks.dtype)
    return lax.scan(one_round, jnp.ones_like(weights), scales)[1][-1]


def _quadratic(places: Array, weights: Array) -> Array:
    """(N, 6): 1, x, y, x^2, x y, y^2, of coordinates of order one."""
    total = jnp.maximum(weights.sum(), 1e-12)
    middle = (places * weights[:, None]).sum(0) / total
    apart = places - middle[None]
    spread = ((apart**2) * weights[:, None]).sum() / total
    x, y = (apart / jnp.sqrt(jnp.maximum(spread, 1e-12))).T
    return jnp.stack([jnp.ones_like(x), x, y, x * x, x * y, y * y], -1)
