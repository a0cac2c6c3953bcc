"""Where along a ray to look: stratified and inverse-CDF positions.

Positions are distances in scene units, near to far on the last axis. Random numbers are
arguments; without them all is deterministic.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from egojax.types import ArrayLike, typed

PDF_FLOOR = 1e-5  # Added to every weight; and the least mass of a bin that is inverted.


@jax.jit(static_argnames="num")
@typed
def stratify(
    near: Float[ArrayLike, "*batch"],
    far: Float[ArrayLike, "*batch"],
    num: int,
    jitter: Float[ArrayLike, "*batch S"] | None = None,
) -> Float[Array, "*batch S"]:
    """`num` positions from near to far, both included, evenly spaced.

    Args:
      near, far: Scene units.
      num: >= 2.
      jitter: In [0, 1): where each position lies between the midpoints to its
        neighbours (the ends have half an interval); None = evenly spaced.

    Source: NeuralDiff, render_rays, with perturb * U(0, 1) as the jitter.
    """
    share = jnp.linspace(0.0, 1.0, num)[(None,) * jnp.ndim(near)]
    near, far = jnp.asarray(near)[..., None], jnp.asarray(far)[..., None]
    t = near * (1.0 - share) + far * share
    if jitter is None:
        return t
    lower, upper = strata(t)
    return lower + (upper - lower) * jitter


@typed
def strata(
    t: Float[ArrayLike, "*batch S"],
) -> tuple[Float[Array, "*batch S"], Float[Array, "*batch S"]]:
    """The two ends of what each position stands for: midpoints, and the ends of all."""
    t = jnp.asarray(t)
    mids = 0.5 * (t[..., 1:] + t[..., :-1])
    lower = jnp.concatenate([t[..., :1], mids], axis=-1)
    return lower, jnp.concatenate([mids, t[..., -1:]], axis=-1)


@jax.jit
@typed
def sample_pdf(
    bins: Float[ArrayLike, "*batch B"],
    weights: Float[ArrayLike, "*batch M"],
    u: Float[ArrayLike, "*batch N"],
) -> Float[Array, "*batch N"]:
    """Positions at the quantiles u of a piecewise uniform density.

    Args:
      bins: Edges, B = M + 1, not decreasing.
      weights: >= 0, need not sum to 1; no gradient flows through them. Where all are 0
        the density is uniform over the bins' numbers.
      u: In [0, 1].

    Raises:
      ValueError: not one bin more than weights.

    Source: NeRF, sample_pdf (searchsorted to the right).
    """
    bins, u = jnp.asarray(bins), jnp.asarray(u)
    if bins.shape[-1] != weights.shape[-1] + 1:
        raise ValueError(f"{bins.shape[-1]} edges for {weights.shape[-1]} weights")
    cdf = _cdf(lax.stop_gradient(jnp.asarray(weights)) + PDF_FLOOR)
    # Comparisons, not a scanning search: as many as a ray has, and all at once.
    above = (cdf[..., None, :] <= u[..., :, None]).sum(-1)
    low, high = jnp.maximum(above - 1, 0), jnp.minimum(above, weights.shape[-1])
    start, mass = _at(cdf, low), _at(cdf, high) - _at(cdf, low)
    share = (u - start) / jnp.where(mass < PDF_FLOOR, 1.0, mass)
    first = _at(bins, low)
    return first + share * (_at(bins, high) - first)


def _cdf(weights: Array) -> Array:
    share = weights / weights.sum(-1, keepdims=True)
    return jnp.concatenate(
        [jnp.zeros_like(share[..., :1]), jnp.cumsum(share, -1)], axis=-1
    )


def _at(values: Array, idx: Array) -> Array:
    return jnp.take_along_axis(values, idx, axis=-1)


@jax.jit
@typed
def refine(
    t: Float[Array, "*batch S"],
    weights: Float[Array, "*batch S"],
    u: Float[Array, "*batch N"],
) -> Float[Array, "*batch F"]:
    """The S positions and N new ones where the weights are large, in order.

    The new ones come from between the midpoints of the old, by all weights but the
    first and the last. No gradient flows back to the old positions' weights.
    """
    mids = 0.5 * (t[..., 1:] + t[..., :-1])
    new = sample_pdf(mids, weights[..., 1:-1], u)
    return lax.stop_gradient(jnp.sort(jnp.concatenate([t, new], axis=-1), axis=-1))
