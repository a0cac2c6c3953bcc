"""Depth maps: one aligned to another by scale and shift, in the L1 sense.

`depth` is camera z, `disparity` is 1 / depth, and +inf (depth) or 0 (disparity) says
that nothing is there. An alignment says what becomes of the values d of a depth map:

    space "depth"      scale * d + shift        d is a depth, metric or relative
    space "disparity"  1 / (scale * d + shift)  d is a disparity, fitted in disparity
    space "official"   scale * d + shift        d is a disparity, treated as a depth
"""

import functools
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from egojax.ops.numerics import fold_sum, safe_divide
from egojax.types import typed

Space = Literal["depth", "disparity", "official"]
NUM_SIGMAS = 3.0  # Values of d farther from their mean take no part.
SUBSET = 2048  # Pixels that are fitted exactly, to begin with.
MAX_PIVOTS = 40  # Of that fit; about 8 are needed.
NEWTON_STEPS = 12
SHRINK = 0.6  # Of the band from step to step.
ACTIVE = 0.01  # Share of the residuals, the least ones, that carry the gradient.
EPS = 1e-6  # A disparity below this is infinitely far, a depth up to this too near.


class Alignment(NamedTuple):
    """Scale and shift of each frame; NaN where there is nothing to fit."""

    scale: Float[Array, "*T"]
    shift: Float[Array, "*T"]
    error: Float[Array, "*T"]  # Mean absolute residual, in the space of the fit.
    num_pixels: Int[Array, "*T"]


@functools.partial(jax.jit, static_argnames="space")
@typed
def align(
    depth: Float[Array, "*T H W"],
    target: Float[Array, "*T H W"],
    exclude: Bool[Array, "*T H W"] | None = None,
    *,
    space: Space = "depth",
) -> Alignment:
    """Fits scale and shift of each frame: the least sum of absolute residuals.

    Pixels take part where both maps are finite, `exclude` is False, and d is within
    three standard deviations (population, of all finite pixels) of its mean.

    Args:
      depth: The map d to be aligned, in its own units.
      target: Depth, > 0; +inf = none.
      exclude: True = takes no part, such as what moves.
      space: What d is; see the module.

    Returns:
      The optimum to about 1e-7 of the sum of residuals. A frame is degenerate, and NaN,
      with fewer than two pixels or where d does not vary. Scale and shift are
      differentiable in both maps: through the residuals near 0, which hold the line
      (its two points exactly, where there are few).

    Source: EgoSeg3D, scripts/preprocessing/extract_aligned_depth.py.
    Differs: d that is not finite is left out (there: one inf empties the mask), as are
      excluded pixels; an exact solver of its own (there: a generic convex solver).
    """
    if space not in get_args(Space):
        raise ValueError(f"space {space!r}: there are {', '.join(get_args(Space))}")
    if exclude is None:
        exclude = jnp.zeros(depth.shape, bool)
    one = functools.partial(_align_frame, space=space)
    if depth.ndim == 2:
        return one((depth, target, exclude))
    frames = [a.reshape(-1, *a.shape[-2:]) for a in (depth, target, exclude)]
    found = lax.map(one, tuple(frames))
    return jax.tree.map(lambda a: a.reshape(depth.shape[:-2]), found)


def _align_frame(maps: tuple[Array, Array, Array], space: Space) -> Alignment:
    x, target, exclude = (a.reshape(-1) for a in maps)
    used = fit_mask(x, target) & ~exclude
    used &= (target > EPS) if space == "disparity" else True
    safe = jnp.where(used, target, 1.0)
    y = 1.0 / safe if space == "disparity" else safe
    x = jnp.where(used, x, 0.0)
    return fit_line(x, jnp.where(used, y, 0.0), used)


@typed
def fit_mask(depth: Float[Array, "N"], target: Float[Array, "N"]) -> Bool[Array, "N"]:
    """Pixels finite in both maps, without outliers of `depth` beyond three sigma."""
    is_finite = jnp.isfinite(depth)
    num = jnp.maximum(is_finite.sum(), 1)
    known = jnp.where(is_finite, depth, 0.0)
    mean = fold_sum(known) / num
    gap = jnp.where(is_finite, depth - mean, 0.0)
    near = gap * gap < NUM_SIGMAS**2 * fold_sum(gap * gap) / num
    return is_finite & jnp.isfinite(target) & near


@typed
def fit_line(
    x: Float[Array, "N"], y: Float[Array, "N"], used: Bool[Array, "N"]
) -> Alignment:
    """The line scale * x + shift of least absolute residuals from y, where `used`.

    A regular subset of the pixels is fitted exactly; from there Newton's method runs on
    all of them, the absolute value rounded off within a band that shrinks.
    """
    num = used.sum()
    picked = _pick(used)
    is_picked = jnp.arange(SUBSET) < num
    # Centered and scaled, so that float32 serves scenes of any size.
    low = jnp.where(used, x, jnp.inf).min()
    spread = jnp.where(used, x, -jnp.inf).max() - low
    is_line = (num >= 2) & (spread > 0)
    spread = lax.stop_gradient(jnp.where(is_line, spread, 1.0))
    middle = lax.stop_gradient(jnp.where(is_line, low + 0.5 * spread, 0.0))
    u = jnp.where(used, (x - middle) / spread, 0.0)
    weight = used.astype(jnp.float32)
    fixed = lax.stop_gradient((u, y, weight))
    line = _pivot(u[picked], y[picked], is_picked.astype(jnp.float32))
    line, total = _refine(*fixed, lax.stop_gradient(line), picked, is_picked)
    slope, offset = line + _response(u, y, weight, line, picked, is_picked)
    scale = slope / spread
    none = jnp.float32(jnp.nan)
    return Alignment(
        scale=jnp.where(is_line, scale, none),
        shift=jnp.where(is_line, offset - scale * middle, none),
        error=jnp.where(is_line, total / jnp.maximum(num, 1), none),
        num_pixels=num.astype(jnp.int32),
    )


def _pick(used: Array) -> Array:
    """SUBSET positions, evenly spaced among those used; all of them if they fit."""
    rank = jnp.cumsum(used)
    step = jnp.maximum(rank[-1] / SUBSET, 1.0)
    wanted = (jnp.arange(SUBSET) * step).astype(jnp.int32) + 1
    return jnp.minimum(jnp.searchsorted(rank, wanted), len(used) - 1)


def _pivot(x: Array, y: Array, weight: Array) -> Array:
    """The exact line for few points: (slope, offset).

    The best line through a point has as its slope the weighted median of the slopes to
    all others, and passes through one of them: the next pivot.
    """
    x, y = lax.stop_gradient((x, y))

    def total(line: Array) -> Array:
        return (weight * jnp.abs(line[0] * x + line[1] - y)).sum()

    def turn(state: tuple) -> tuple:
        line, least, at, _, count = state
        run = x - x[at]
        slope = jnp.where(run == 0, jnp.inf, safe_divide(y - y[at], run))
        other = _weighted_median(slope, weight * jnp.abs(run))
        found = jnp.stack([slope[other], y[at] - slope[other] * x[at]])
        value = total(found)
        better = value < least
        line = jnp.where(better, found, line)
        return line, jnp.minimum(value, least), other, better, count + 1

    # The first pivot: the median of all residuals from the line of least squares.
    first = _least_squares(x, y, weight)
    at = _weighted_median(jnp.where(weight > 0, y - first[0] * x, jnp.inf), weight)
    first = first.at[1].set(y[at] - first[0] * x[at])
    start = (first, total(first), at, jnp.bool_(True), 0)
    return lax.while_loop(lambda s: s[3] & (s[4] < MAX_PIVOTS), turn, start)[0]


def _weighted_median(values: Array, weight: Array) -> Array:
    """The position of the least value with half of the weight up to it."""
    ordered, order = lax.sort_key_val(values, jnp.arange(len(values)))
    share = jnp.cumsum(weight[order])
    at = jnp.searchsorted(share, 0.5 * share[-1])
    last = jnp.isfinite(ordered).sum() - 1
    return order[jnp.clip(at, 0, jnp.maximum(last, 0))]


def _least_squares(x: Array, y: Array, weight: Array) -> Array:
    num = jnp.maximum(weight.sum(), 1.0)
    mean_x, mean_y = (weight * x).sum() / num, (weight * y).sum() / num
    run = weight * (x - mean_x)
    slope = safe_divide((run * (y - mean_y)).sum(), (run * run).sum())
    return jnp.stack([slope, mean_y - slope * mean_x])


def _refine(x, y, weight, line, picked, is_picked) -> tuple[Array, Array]:
    """Newton's method on all points; the best line met, and its sum of residuals."""

    def residual(line: Array) -> Array:
        return line[0] * x + line[1] - y

    def total(line: Array) -> Array:
        return fold_sum(weight * jnp.abs(residual(line)))

    def step(i: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        line, least = state
        band = widest * SHRINK ** i.astype(jnp.float32)
        found = line + _newton_step(x, weight, residual(line), band)
        value = total(found)
        better = value < least
        return jnp.where(better, found, line), jnp.minimum(value, least)

    near = jnp.sort(jnp.where(is_picked, jnp.abs(residual(line)[picked]), jnp.inf))
    widest = near[jnp.maximum(is_picked.sum() // 8 - 1, 0)]
    return lax.fori_loop(0, NEWTON_STEPS, step, (line, total(line)))


def _newton_step(x: Array, weight: Array, residual: Array, band: Array) -> Array:
    """Minus the gradient over the curvature, |r| rounded off for |r| < band."""
    band = jnp.maximum(band, 1e-30)
    sign = weight * jnp.clip(residual / band, -1.0, 1.0)
    inside = lax.stop_gradient(weight * (jnp.abs(residual) < band))
    fixed = lax.stop_gradient(x)
    columns = jnp.stack([sign * x, sign, inside * fixed**2, inside * fixed, inside], -1)
    gx, g1, hxx, hx, h1 = fold_sum(columns)
    det = lax.stop_gradient(hxx * h1 - hx * hx)
    # Points at one x, or one point, leave the slope open.
    det = jnp.where(det > 1e-6 * hxx * h1, det, 0.0)
    down = jnp.stack([h1 * gx - hx * g1, hxx * g1 - hx * gx])
    return -band * safe_divide(1.0, det) * down


def _response(x, y, weight, line, picked, is_picked) -> Array:
    """Zero, with the gradient of the line in x and y.

    By the implicit function theorem, |r| rounded off within the band that holds the
    least of the residuals.
    """
    line = lax.stop_gradient(line)
    residual = line[0] * x + line[1] - y
    near = jnp.where(is_picked, jnp.abs(lax.stop_gradient(residual))[picked], jnp.inf)
    near = jnp.sort(near)
    num = is_picked.sum()
    active = jnp.maximum(jnp.ceil(ACTIVE * num).astype(jnp.int32), 2)
    ends = near[jnp.minimum(jnp.stack([active - 1, active]), jnp.maximum(num - 1, 0))]
    band = jnp.maximum(0.5 * ends.sum(), 1e-6 * jnp.abs(line).sum())
    step = _newton_step(x, weight, residual, lax.stop_gradient(band))
    return step - lax.stop_gradient(step)


@functools.partial(jax.jit, static_argnames="space")
@typed
def apply_alignment(
    depth: Float[Array, "*T H W"],
    scale: Float[Array, "*T"],
    shift: Float[Array, "*T"],
    *,
    space: Space = "depth",
) -> Float[Array, "*T H W"]:
    """The aligned depth; +inf where there is none.

    There is none where d or the alignment is not finite, and, but for the space
    "official", where the depth would not be positive and finite.
    """
    value = scale[..., None, None] * depth + shift[..., None, None]
    value = jnp.where(jnp.isfinite(depth) & jnp.isfinite(value), value, jnp.nan)
    if space == "disparity":
        value = depth_from_disparity(value)
    if space != "official":
        value = jnp.where(value > 0, value, jnp.nan)
    return jnp.where(jnp.isnan(value), jnp.inf, value)


@jax.jit
@typed
def depth_from_disparity(disparity: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """1 / disparity; +inf below 1e-6."""
    is_near = disparity >= EPS
    return jnp.where(is_near, 1.0 / jnp.where(is_near, disparity, 1.0), jnp.inf)


# Over the frames of a clip, on the host: short columns in float64.


class Settled(NamedTuple):
    """The alignment of every frame of a clip."""

    scale: np.ndarray  # float64 (T,)
    shift: np.ndarray  # float64 (T,)


def settle(scale: np.ndarray, shift: np.ndarray, window: int = 0) -> Settled:
    """Gives frames without a fit that of the nearest frame with one; smooths over time.

    Args:
      scale: (T,), NaN = no fit.
      shift: (T,)
      window: Frames of a running median around each frame, cut at the ends; up to 1 =
        none.

    Returns:
      Finite values. Of two frames equally near the earlier counts. Where no frame at
      all has a fit, depth is taken as it is: scale 1, shift 0.
    """
    known = np.flatnonzero(np.isfinite(scale) & np.isfinite(shift))
    frames = np.arange(len(scale))
    if not len(known):
        return Settled(np.ones(len(frames)), np.zeros(len(frames)))
    after = np.clip(np.searchsorted(known, frames), 0, len(known) - 1)
    before = np.maximum(after - 1, 0)
    is_before = frames - known[before] <= np.abs(known[after] - frames)
    nearest = known[np.where(is_before, before, after)]
    nearest = np.where(np.isin(frames, known), frames, nearest)
    both = (np.asarray(values, np.float64)[nearest] for values in (scale, shift))
    return Settled(*(_running_median(v, window) if window > 1 else v for v in both))


def _running_median(values: np.ndarray, window: int) -> np.ndarray:
    half = min(window // 2, len(values))
    padded = np.pad(values, half, constant_values=np.nan)
    views = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    return np.nanmedian(views, axis=1)


def metric_scale(scale: np.ndarray) -> float:
    """Metres per world unit, from the scales that align metric depth to the world.

    Args:
      scale: (T,), world units per metre; what is not finite or positive is left out.

    Returns:
      The median of 1 / scale over frames; NaN if no frame has one.

    Source: EgoSeg3D, the rescale table, for which this stands in.
    """
    scale = np.asarray(scale, np.float64)
    known = scale[np.isfinite(scale) & (scale > 0)]
    return float(np.median(1.0 / known)) if len(known) else float("nan")
