"""Positions, directions and times as features of a network.

In a radiance field positions are in scene units, unscaled; a slot is the row of a frame
in tables of codes. Cells of an image are counted by row and column.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from egojax.types import ArrayLike, typed


@jax.jit(static_argnames="num_bands")
@typed
def frequency_encoding(
    x: Float[ArrayLike, "*batch D"], num_bands: int
) -> Float[Array, "*batch E"]:
    """[x, sin(x), cos(x), sin(2 x), cos(2 x), ...]: E = D (1 + 2 num_bands) features.

    Each sine and cosine block holds all D components. Evaluate it in float32: the
    highest band turns by 2^(num_bands - 1) radians a scene unit.

    Source: Mildenhall et al. 2020 (NeRF), Eq. 4. Differs: no factor pi, as in the code.
    """
    x = jnp.asarray(x)
    bands = 2.0 ** jnp.arange(num_bands, dtype=x.dtype)
    angles = x[..., None, :] * bands[(None,) * (x.ndim - 1) + (slice(None), None)]
    waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-2)
    return jnp.concatenate([x, waves.reshape(*x.shape[:-1], -1)], axis=-1)


@jax.jit(static_argnames=("num_slots", "num_basis"))
@typed
def time_basis(
    slots: Int[ArrayLike, "*batch"], num_slots: int, num_basis: int
) -> Float[Array, "*batch K"]:
    """The K = 1 + 2 (num_basis // 2) slow functions of time that codes are sums of.

    Args:
      slots: 0 .. num_slots - 1, spread over [-1, 1].
      num_slots: >= 2. The fastest function has a period of some
        3 num_slots / 2^(num_basis // 2) slots.
      num_basis: Odd.

    Source: NeuralDiff, class LREEmbedding.
    """
    time = 2.0 * (jnp.asarray(slots, jnp.float32) / (num_slots - 1) - 0.5)
    return frequency_encoding(time[..., None], num_basis // 2)


@jax.jit(static_argnames=("last_slot", "num_bands"))
@typed
def wave_code(
    slots: Int[ArrayLike, "*batch"], last_slot: int, num_bands: int = 8
) -> Float[Array, "*batch K"]:
    """T-NeRF's time code, K = 1 + 2 num_bands numbers: nothing in it is learned.

    Source: epic-fields-rendering; the time is 2 (t / last_slot - 1 / 2).
    """
    return time_basis(slots, last_slot + 1, 2 * num_bands + 1)


@jax.jit
@typed
def contract(
    points: Float[ArrayLike, "*batch 3"],
    center: Float[ArrayLike, "3"],
    radius: Float[ArrayLike, ""] | float,
) -> Float[Array, "*batch 3"]:
    """All of space in a ball of radius 2: what is within `radius` is only scaled.

    Beyond, a point at distance r (in radii) comes to lie at 2 - 1 / r.

    Source: Barron et al. 2022 (Mip-NeRF 360), Eq. 10.
    """
    points, center = jnp.asarray(points), jnp.asarray(center)
    x = (points - center[(None,) * (points.ndim - 1)]) / radius
    # A length below 1 counts as 1: then this is x, and no root is taken at the center.
    length = jnp.sqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1.0))
    return (2.0 - 1.0 / length) * x / length


def sine_grid(size_hw: tuple[int, int], features: int) -> np.ndarray:
    """Where the cells of an image are, as waves: float32 (H, W, 2 features).

    Args:
      size_hw: Rows and columns of cells.
      features: Of an axis, even; those of the row come first. Sines and cosines take
        turns, from one turn over the whole side down to a 10,000th of that.

    Source: Carion et al. 2020 (DETR), `PositionEmbeddingSine`, normalised.
    """
    slower = 10000.0 ** (2 * (np.arange(features) // 2) / features)

    def waves(side: int) -> np.ndarray:
        at = np.arange(1, side + 1) / (side + 1e-6) * 2 * np.pi
        angles = at[:, None] / slower
        is_sine = np.arange(features) % 2 == 0
        return np.where(is_sine, np.sin(angles), np.cos(angles)).astype(np.float32)

    rows, columns = waves(size_hw[0])[:, None], waves(size_hw[1])[None]
    shape = (*size_hw, features)
    parts = np.broadcast_to(rows, shape), np.broadcast_to(columns, shape)
    return np.concatenate(parts, axis=-1)
