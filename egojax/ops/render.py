"""Emission-absorption volume rendering along rays, of one density or of streams.

`t_edges` are the S + 1 interval boundaries of a ray and `delta` their lengths, in scene
units; `density` is in 1 / scene unit, >= 0. Q streams (static, moving, actor) share a
ray: their densities add up to what absorbs its light. Every function maps over leading
`*batch` axes; the axis of streams comes first.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from egojax.types import ArrayLike, typed

FAR_DELTA = 100.0  # Length of the last interval of the published renderer.
WALL = 100.0  # Density of the published "transmittance fix".
SMALL_TAU = 0.01  # Below it the share of a stream is a series, off by 1e-10.

Mixing = Literal["normalized", "separate"]
LastShare = Literal["normalized", "official"]


class RayWeights(NamedTuple):
    """What each interval contributes to its ray."""

    weights: Float[Array, "*batch S"]  # trans * alpha; >= 0, sums to <= 1.
    alpha: Float[Array, "*batch S"]  # Opacity of the interval alone.
    trans: Float[Array, "*batch S"]  # Light that reaches it; trans[0] = 1.


class StreamWeights(NamedTuple):
    """What each interval of each stream contributes to its ray."""

    weights: Float[Array, "Q *batch S"]
    alpha: Float[Array, "Q *batch S"]  # A stream's part of the interval's opacity.
    total: RayWeights  # Of all streams together.


@jax.jit(static_argnames="opaque_far")
@typed
def ray_weights(
    density: Float[ArrayLike, "*batch S"],
    delta: Float[ArrayLike, "*batch S"],
    *,
    opaque_far: bool = False,
) -> RayWeights:
    """Turns densities into compositing weights.

    Args:
      density: Finite, but may be large enough to be a wall.
      delta: >= 0; an interval of length 0 gets weight 0.
      opaque_far: Make the last interval a wall, so that the weights sum to 1.

    Source: Mildenhall et al. 2020 (NeRF), Eq. 3.
    """
    tau = jnp.asarray(density) * delta
    alpha = -jnp.expm1(-tau)
    if opaque_far:
        alpha = jnp.concatenate(
            [alpha[..., :-1], jnp.ones_like(alpha[..., -1:])], axis=-1
        )
    trans = transmittance(tau)
    return RayWeights(trans * alpha, alpha, trans)


def transmittance(tau: Float[Array, "*batch S"]) -> Float[Array, "*batch S"]:
    """The light that reaches each interval, of optical depths `tau`."""
    # Shift the sum, do not subtract tau from it: in float32 a wall's tau would round
    # away the fog in front of it.
    before = jnp.cumsum(tau[..., :-1], axis=-1)
    before = jnp.concatenate([jnp.zeros_like(tau[..., :1]), before], axis=-1)
    return jnp.exp(-before)


@jax.jit
@typed
def accumulate(
    weights: Float[ArrayLike, "*batch S"], values: Float[ArrayLike, "*batch S C"]
) -> Float[Array, "*batch C"]:
    """The sum of values along rays, weighted."""
    return jnp.einsum("...s,...sc->...c", weights, values)


@jax.jit(static_argnames=("mixing", "last"))
@typed
def stream_weights(
    density: Float[ArrayLike, "Q *batch S"],
    delta: Float[ArrayLike, "*batch S"],
    *,
    mixing: Mixing = "normalized",
    last: LastShare = "normalized",
) -> StreamWeights:
    """Weights of streams that share their rays.

    Args:
      density: Of each stream.
      delta: Of the intervals.
      mixing: "normalized": a stream has the part of an interval's opacity that its
        density has of the sum, so that colours and masks sum to at most 1.
        "separate": the opacity that it would have alone (NeRF-W).
      last: The last interval: "normalized" as the others, or "separate" in every case
        ("official"), by which masks may sum to more than 1.

    Returns:
      See there. All is finite, gradients too, for densities of 0 and of walls.

    Source: NeuralDiff, section 3 ("+C" is "normalized"), and its code for `last`.
    """
    density, delta = jnp.asarray(density), jnp.asarray(delta)
    total_density = density.sum(0)
    total = ray_weights(total_density, delta)
    apart = -jnp.expm1(-density * delta[None])
    if mixing == "separate":
        alpha = apart
    else:
        alpha = density * _share(total_density, delta, total.alpha)[None]
        if last == "official":
            alpha = jnp.concatenate([alpha[..., :-1], apart[..., -1:]], axis=-1)
    return StreamWeights(total.trans[None] * alpha, alpha, total)


def _share(density: Array, delta: Array, alpha: Array) -> Array:
    """alpha / density, which tends to delta as the density goes to 0."""
    tau = density * delta
    is_small = tau < SMALL_TAU
    few = jnp.where(is_small, tau, 0.0)
    series = delta * (1.0 + few * (-1.0 / 2.0 + few * (1.0 / 6.0 - few / 24.0)))
    return jnp.where(is_small, series, alpha / jnp.where(is_small, 1.0, density))


class Composite(NamedTuple):
    """What rays see of all streams together."""

    rgb: Float[Array, "*batch 3"]
    parts: Float[Array, "Q *batch 3"]  # Of each stream; they sum to `rgb`.
    masks: Float[Array, "Q *batch"]  # Share of each stream; see `stream_weights`.
    depth: Float[Array, "*batch"]  # Mean distance, times the opacity.
    opacity: Float[Array, "*batch"]


@jax.jit
@typed
def composite_streams(
    mixed: StreamWeights,
    rgb: Float[ArrayLike, "Q *batch S 3"],
    t: Float[ArrayLike, "*batch S"],
) -> Composite:
    """Renders colours, masks and depth.

    Args:
      mixed: Of `stream_weights`.
      rgb: Colours of each stream, in [0, 1].
      t: Distances along the rays.
    """
    parts = accumulate(mixed.weights, rgb)
    return Composite(
        rgb=parts.sum(0),
        parts=parts,
        masks=mixed.weights.sum(-1),
        depth=(mixed.total.weights * t).sum(-1),
        opacity=mixed.total.weights.sum(-1),
    )


@jax.jit
@typed
def uncertainty(
    weights: Float[ArrayLike, "P *batch S"],
    beta: Float[ArrayLike, "P *batch S"],
    floor: float | Float[ArrayLike, ""],
) -> Float[Array, "*batch"]:
    """The rendered uncertainty of rays, and a floor.

    Args:
      weights: Of the P streams that have one (those that change).
      beta: Of the intervals, >= 0.

    Source: Martin-Brualla et al. 2021 (NeRF-W), Eq. 13.
    """
    return jnp.einsum("p...s,p...s->...", weights, beta) + floor


class Alone(NamedTuple):
    """What rays would see of one stream with the other streams' light taken away."""

    rgb: Float[Array, "*batch 3"]
    depth: Float[Array, "*batch"]  # Mean distance, times the mass.
    mass: Float[Array, "*batch"]


@jax.jit
@typed
def stream_alone(
    alpha: Float[ArrayLike, "*batch S"],
    rgb: Float[ArrayLike, "*batch S 3"],
    t: Float[ArrayLike, "*batch S"],
) -> Alone:
    """Renders one stream by its part of the opacity, as the published code does.

    It is a little more transparent, where streams overlap, than a scene without the
    others would be.

    Source: NeuralDiff, the `_alone` outputs of its renderer.
    """
    alpha = jnp.asarray(alpha)
    passed = jnp.cumprod(1.0 - alpha[..., :-1], axis=-1)
    weights = alpha * jnp.concatenate([jnp.ones_like(alpha[..., :1]), passed], axis=-1)
    return Alone(accumulate(weights, rgb), (weights * t).sum(-1), weights.sum(-1))


@jax.jit
@typed
def far_wall(
    density: Float[ArrayLike, "Q *batch S"],
    rgb: Float[ArrayLike, "Q *batch S 3"],
    color: Float[ArrayLike, "*batch 3"],
) -> tuple[Float[Array, "Q *batch S"], Float[Array, "Q *batch S 3"]]:
    """Streams whose first, the static one, ends in a wall of some colour.

    It makes rays opaque, so that dark pixels are not explained by transparency. Nothing
    is learned from what it replaces.

    Source: NeuralDiff, the "transmittance fix" of its code (training only).
    """
    density = jnp.asarray(density).at[0, ..., -1].set(WALL)
    return density, jnp.asarray(rgb).at[0, ..., -1, :].set(color)


@jax.jit
@typed
def deltas(
    t: Float[ArrayLike, "*batch S"], last: float = FAR_DELTA
) -> Float[Array, "*batch S"]:
    """Lengths of the intervals that begin at positions, the last one as given."""
    t = jnp.asarray(t)
    return jnp.concatenate([jnp.diff(t), jnp.full_like(t[..., -1:], last)], axis=-1)
