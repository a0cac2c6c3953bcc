"""How well a track and an observation go together, term by term.

All terms are costs: small = same. T tracks (rows), N observations (columns).
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from egojax.types import ArrayLike, typed


@struct.dataclass
class CostWeights:
    """Weights of the terms; numbers, so that they can be learned and swept by vmap.

    The defaults are the published ones.
    """

    alpha: Float[Array, ""] | float = 30.0  # A pair above this cost is no match.
    beta_l: Float[Array, ""] | float = (
        10.0  # Adds ln(beta_l): tightens, weighs nothing.
    )
    beta_v: Float[Array, ""] | float = 2.0  # Appearance.
    beta_c: Float[Array, ""] | float = 1e4  # Another category.
    beta_s: Float[Array, ""] | float = 10.0  # Another 2D id.
    location_weight: Float[Array, ""] | float = 1.0  # Per square metre.
    location_cap: Float[Array, ""] | float = jnp.inf  # Most that distance can cost.
    appearance_weight: Float[Array, ""] | float = 1.0
    track_shrink: Float[Array, ""] | float = 0.999  # Factor on the track's feature.
    location_gain: Float[Array, ""] | float = 1.0  # Of a new place, 1 = no smoothing.
    moved_by: Float[Array, ""] | float = 0.0  # Metres beyond which nothing is smoothed.


class CostTerms(NamedTuple):
    """The cost, and what it is made of; each (T, N)."""

    location: Float[Array, "T N"]
    appearance: Float[Array, "T N"]
    category: Float[Array, "T N"]
    label: Float[Array, "T N"]

    @property
    def total(self) -> Array:
        return self.location + self.appearance + self.category + self.label


@typed
def squared_distance(
    a: Float[ArrayLike, "T D"], b: Float[ArrayLike, "N D"]
) -> Float[Array, "T N"]:
    """|a_i - b_j|^2 without the T x N x D differences; never negative."""
    a, b = jnp.asarray(a), jnp.asarray(b)
    return distance_from_dots(a @ b.T, (a * a).sum(-1), (b * b).sum(-1))


@typed
def distance_from_dots(
    dots: Float[Array, "T N"],
    a_square: Float[Array, "T"],
    b_square: Float[Array, "N"],
    shrink: Float[Array, ""] | float = 1.0,
) -> Float[Array, "T N"]:
    """|s a_i - b_j|^2 from a_i . b_j, |a_i|^2 and |b_j|^2; never negative."""
    mine = shrink * shrink * a_square[:, None]
    return jnp.maximum(mine + b_square[None, :] - 2.0 * shrink * dots, 0.0)


@typed
def location_cost(
    tracks: Float[ArrayLike, "T 3"],
    observed: Float[ArrayLike, "N 3"],
    weights: CostWeights,
) -> Float[Array, "T N"]:
    """ln(beta_l) + w |difference|^2, levelling off smoothly at `location_cap`.

    Args:
      tracks: Metres; NaN = unknown.
      observed: Metres; NaN = unknown.

    Returns:
      The cost. Where a location is unknown it says nothing: half the cap, or nothing
      where there is no cap.

    Source: EgoSeg3D, scripts/tracking.py, calc_cost_new, in closed form.
    Differs: the weight and the cap are ours; a heavy tail lets an object that was moved
    out of sight be found again by its looks.
    """
    a, known_a = _axes(tracks)
    b, known_b = _axes(observed)
    known = known_a[:, None] & known_b[None, :]
    # Differences, not the Gram form: places far from the origin must stay exact.
    x, y, z = ((p[:, None] - q[None, :]) ** 2 for p, q in zip(a, b, strict=True))
    square = (x + y + z) * weights.location_weight
    cap = jnp.asarray(weights.location_cap, square.dtype)
    has_cap = jnp.isfinite(cap)
    safe_cap = jnp.where(has_cap, cap, 0.0)
    # -log of the mixture of a Gaussian and of a uniform share exp(-cap).
    share = jnp.maximum(jnp.exp(-safe_cap), 1e-37)
    capped = jnp.log1p(share) - jnp.log(jnp.exp(-square) + share)
    cost = jnp.where(has_cap, capped, square)
    unknown = jnp.where(has_cap, 0.5 * safe_cap, 0.0)
    return jnp.log(weights.beta_l) + jnp.where(known, cost, unknown)


def _axes(places: ArrayLike) -> tuple[list[Array], Array]:
    """The coordinates one by one, 0 where unknown, and where all are known.

    Axis by axis, since a reduction over a last axis of 3 is slow, alone or fused.
    """
    axes = [jnp.asarray(places)[:, c] for c in range(3)]
    known = [jnp.isfinite(axis) for axis in axes]
    clean = [jnp.where(k, axis, 0.0) for k, axis in zip(known, axes, strict=True)]
    return clean, known[0] & known[1] & known[2]


@typed
def appearance_cost(
    tracks: Float[ArrayLike, "T D"],
    observed: Float[ArrayLike, "N D"],
    weights: CostWeights,
) -> Float[Array, "T N"]:
    """w ln(1 + beta_v |0.999 e - r|^2); see `location_cost` for the source."""
    a, b = jnp.asarray(tracks), jnp.asarray(observed)
    return looks_cost(a @ b.T, (a * a).sum(-1), (b * b).sum(-1), weights)


@typed
def looks_cost(
    dots: Float[Array, "T N"],
    track_square: Float[Array, "T"],
    observed_square: Float[Array, "N"],
    weights: CostWeights,
) -> Float[Array, "T N"]:
    """`appearance_cost` from the dot products and squares of the features."""
    shrink = weights.track_shrink
    square = distance_from_dots(dots, track_square, observed_square, shrink)
    return weights.appearance_weight * jnp.log1p(weights.beta_v * square)


@typed
def mismatch_cost(
    tracks: Int[ArrayLike, "T"],
    observed: Int[ArrayLike, "N"],
    penalty: Float[Array, ""] | float,
) -> Float[Array, "T N"]:
    """The penalty wherever the two differ; unknown (negative) differs from nothing."""
    differ = tracks[:, None] != observed[None, :]
    known = (tracks[:, None] >= 0) & (observed[None, :] >= 0)
    return jnp.where(differ & known, jnp.asarray(penalty, jnp.result_type(float)), 0.0)
