"""What radiance fields learn from: losses of all rays, of each, or of intervals."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from egojax.types import ArrayLike, typed

DENSITY_WEIGHT = 0.01  # Of the published regulariser.


class StreamLoss(NamedTuple):
    """The terms of the loss of streams; `total` is their sum and may be negative."""

    coarse: Float[Array, ""]  # Squared error of the coarse pass, halved.
    fine: Float[Array, ""]  # Squared error over twice the variance.
    uncertainty: Float[Array, ""]  # Mean log of the uncertainty.
    density: Float[Array, ""]  # How much density the streams that change have.

    @property
    def total(self) -> Array:
        return self.coarse + self.fine + self.uncertainty + self.density


@jax.jit
@typed
def stream_loss(
    fine: Float[ArrayLike, "*batch 3"],
    uncertainty: Float[ArrayLike, "*batch"],
    changing_density: Float[ArrayLike, "P *batch S"],
    target: Float[ArrayLike, "*batch 3"],
    coarse: Float[ArrayLike, "*batch 3"] | None = None,
    density_weight: float | Float[ArrayLike, ""] = DENSITY_WEIGHT,
) -> StreamLoss:
    """The loss of a decomposition.

    Args:
      fine: Rendered colours.
      uncertainty: Rendered standard deviations, > 0.
      changing_density: Of the P streams that change, at all intervals.
      target: True colours.
      coarse: Colours of the coarse pass, if there is one.

    Source: NeuralDiff, Eq. 7, and the class NeuralDiffLoss of its code.
    """
    target, beta = jnp.asarray(target), jnp.asarray(uncertainty)
    num_streams = len(changing_density)
    density = jnp.mean(changing_density) if num_streams else jnp.zeros(())
    error = (fine - target) ** 2 / (2.0 * beta**2)[..., None]
    return StreamLoss(
        coarse=jnp.zeros(())
        if coarse is None
        else 0.5 * ((coarse - target) ** 2).mean(),
        fine=error.mean(),
        uncertainty=jnp.log(beta).mean(),
        # A mean for each stream; the streams are summed.
        density=jnp.asarray(density_weight * num_streams * density),
    )


@jax.jit
@typed
def interlevel_loss(
    t_edges: Float[Array, "*batch E"],
    weights: Float[Array, "*batch S"],
    proposal_edges: Float[Array, "*batch F"],
    proposal_weights: Float[Array, "*batch P"],
) -> Float[Array, "*batch S"]:
    """How much weight final intervals have that the proposal did not foresee.

    Args:
      t_edges, weights: Of the final intervals, E = S + 1; taken as they are.
      proposal_edges, proposal_weights: F = P + 1; these learn.

    Returns:
      max(0, w - bound)^2 / w, bound = the mass of all proposal intervals that an
      interval overlaps.

    Source: Barron et al. 2022 (Mip-NeRF 360), Eq. 13.
    """
    weights, t_edges, edges = lax.stop_gradient((weights, t_edges, proposal_edges))
    mass = jnp.concatenate(
        [
            jnp.zeros_like(proposal_weights[..., :1]),
            jnp.cumsum(proposal_weights, axis=-1),
        ],
        axis=-1,
    )
    last = proposal_weights.shape[-1]
    # Proposal intervals from the one that holds the start to the one with the end.
    begins = (edges[..., None, :] <= t_edges[..., :-1, None]).sum(-1) - 1
    ends = (edges[..., None, :] < t_edges[..., 1:, None]).sum(-1)
    low, high = jnp.clip(begins, 0, last), jnp.clip(ends, 0, last)
    bound = jnp.take_along_axis(mass, high, -1) - jnp.take_along_axis(mass, low, -1)
    return jnp.maximum(weights - bound, 0.0) ** 2 / (weights + 1e-7)


@jax.jit
@typed
def motion_loss(
    changing: Float[Array, "*batch"],
    moves: Float[Array, "*batch"],
    rest: float | Float[ArrayLike, ""] = 0.0,
) -> Float[Array, ""]:
    """Cross entropy of the share of what changes, where it is known what moves.

    Args:
      changing: Share of the streams that change, in [0, 1].
      moves: 1 where something moves, 0 where nothing does, between: unknown.
      rest: Weight of where nothing does. What rests now may have moved before, and is
        then rightly no part of the static stream.
    """
    hidden, shown = (-jnp.log(jnp.clip(s, 1e-3)) for s in (changing, 1.0 - changing))
    return jnp.mean((moves == 1) * hidden + rest * (moves == 0) * shown)


@jax.jit
@typed
def distortion_loss(
    s_edges: Float[Array, "*batch E"], weights: Float[Array, "*batch S"]
) -> Float[Array, "*batch"]:
    """How widely the weight of rays is spread: 0 for all of it in one short interval.

    Args:
      s_edges: Of the intervals, E = S + 1, in [0, 1] along the ray.
      weights: >= 0.

    Source: Barron et al. 2022 (Mip-NeRF 360), Eq. 15, in linear time.
    """
    mids = 0.5 * (s_edges[..., 1:] + s_edges[..., :-1])
    before = jnp.cumsum(weights, -1) - weights
    moment = jnp.cumsum(weights * mids, -1) - weights * mids
    between = 2.0 * (weights * (mids * before - moment)).sum(-1)
    within = (weights**2 * jnp.diff(s_edges)).sum(-1) / 3.0
    return between + within
