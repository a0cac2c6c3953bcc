"""One rigid motion before moving cameras of unknown lens, from trajectories.

Homogeneous places of points of one rigid body, each times its projective depth, are
a matrix (3 T, N) of rank four: its factors are cameras (T, 3, 4) and points (4, N).
Depths start at 1 (an affine camera) and become those that the factors say, by turns;
points that do not fit lose their weight while the scale of what counts as a fit falls.

Source: Sturm & Triggs 1996 (projective factorisation); weights of Geman & McClure.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from egojax.ops.numerics import dot_rows, in_float64
from egojax.types import ArrayLike, typed

# Pixels that a point may be off, from the first round of weights to the last.
SCALES = (16.0, 8.0, 4.0, 2.0, 1.5, 1.5)
TURNS = 8  # Of depths, in each round.
SIGHTS = 3  # Of triangulation, each with the depths of the one before.
FLOOR = 1e-6  # Of weights, and shares of typical depths.


class RigidMotion(NamedTuple):
    """A motion, and how well each point that it was found from follows it."""

    cameras: Float[Array, "T 3 4"]  # Pixels; each up to a factor.
    weights: Float[Array, " N"]  # In [0, 1]: whether a point takes part.


@jax.jit
@typed
def dominant_motion(
    tracks: Float[ArrayLike, "T N 2"], weights: Float[ArrayLike, " N"]
) -> RigidMotion:
    """The rigid motion that most of the weight follows.

    Args:
      tracks: Pixels; finite. Twelve points or more tell a motion.
      weights: >= 0; 0 is padding. Points that stand close together should weigh less.

    Computed in float64 (see `numerics.in_float64`).
    """
    return in_float64(_dominant, jnp.asarray(tracks), jnp.asarray(weights))


@jax.jit
@typed
def reprojection(
    cameras: Float[ArrayLike, "T 3 4"], tracks: Float[ArrayLike, "T N 2"]
) -> Float[Array, "T N 2"]:
    """What of each trajectory no fixed point before these cameras explains, in pixels.

    Each point is put where its rays come closest to each other. A point whose rays do
    not determine it (all zero tracks of padding) has some finite value.
    """
    return in_float64(_residual, jnp.asarray(cameras), jnp.asarray(tracks))


def _dominant(tracks: Array, weights: Array) -> RigidMotion:
    tracks, weights = tracks.astype(jnp.float64), weights.astype(jnp.float64)
    to_unit = _normaliser(tracks, weights)
    points = _moved(to_unit, tracks)
    homogeneous = jnp.concatenate([points, jnp.ones_like(points[..., :1])], -1)
    scale = to_unit[0, 0]

    def one_round(carry: tuple[Array, Array], sigma: Array) -> tuple[tuple, None]:
        depths, share = carry
        counts = weights * share + FLOOR * (weights > 0)
        turn = functools.partial(_turn, homogeneous, counts)
        depths, cameras = lax.fori_loop(
            0, TURNS, lambda _, found: turn(found[0]), (depths, _no_cameras(points))
        )
        error = _residual(cameras, points) / scale
        square = (error**2).sum(-1).mean(0) / sigma**2
        return (depths, 1 / (1 + square) ** 2), cameras

    first = jnp.ones(points.shape[:2], points.dtype), jnp.ones_like(weights)
    scales = jnp.asarray(SCALES, points.dtype)
    (_, share), found = lax.scan(one_round, first, scales)
    cameras = jnp.asarray(found)[-1]
    back = jnp.broadcast_to(jnp.linalg.inv(to_unit), (len(cameras), 3, 3))
    cameras = dot_rows(back, jnp.swapaxes(cameras, -1, -2))
    return RigidMotion(cameras, share * (weights > 0))


def _no_cameras(points: Array) -> Array:
    return jnp.zeros((len(points), 3, 4), points.dtype)


def _turn(homogeneous: Array, weights: Array, depths: Array) -> tuple[Array, Array]:
    """Depths and cameras (T, 3, 4) of the best factors of what the depths say."""
    frames, count, _ = homogeneous.shape
    total = weights.sum() + FLOOR
    # Columns and rows of a like size: else the factors favour some.
    depths = depths / jnp.maximum(jnp.sqrt((depths**2).mean(0)), FLOOR)[None]
    rows = jnp.sqrt((depths**2 * weights[None]).sum(1) / total)
    depths = depths / jnp.maximum(rows, FLOOR)[:, None]
    matrix = jnp.swapaxes(depths[..., None] * homogeneous, 1, 2)
    matrix = matrix.reshape(3 * frames, count)
    gram = dot_rows(matrix * weights[None], matrix)
    basis = jnp.linalg.eigh(gram)[1][:, -4:]
    inside = dot_rows(basis.T, matrix.T)
    fitted = dot_rows(basis, inside.T).reshape(frames, 3, count)
    fitted = jnp.swapaxes(fitted, 1, 2)
    depths = (fitted * homogeneous).sum(-1) / (homogeneous**2).sum(-1)
    return depths, basis.reshape(frames, 3, 4)


def _residual(cameras: Array, tracks: Array) -> Array:
    cameras, tracks = cameras.astype(jnp.float64), tracks.astype(jnp.float64)
    # (T, N, 2, 4): a place times the third row of a camera, less the first two.
    rows = tracks[..., None] * cameras[:, None, 2:3] - cameras[:, None, :2]

    def one_sight(share: Array, _: None) -> tuple[Array, Array]:
        scaled = rows * share[..., None, None]
        flat = jnp.moveaxis(scaled, 1, 0).reshape(tracks.shape[1], -1, 4)
        turned = jnp.swapaxes(flat, -1, -2)
        point = jnp.linalg.eigh(dot_rows(turned, turned))[1][..., 0]
        seen = (cameras[:, None] * point[None, :, None]).sum(-1)
        depth = seen[..., 2]
        typical = jnp.sqrt((depth**2).mean(0))[None]
        small = FLOOR * jnp.maximum(typical, 1e-30)
        safe = jnp.where(jnp.abs(depth) > small, depth, small)
        return 1 / jnp.abs(safe) * typical, tracks - seen[..., :2] / safe[..., None]

    start = jnp.ones(tracks.shape[:2], tracks.dtype)
    return lax.scan(one_sight, start, None, length=SIGHTS)[1][-1]


def _normaliser(tracks: Array, weights: Array) -> Array:
    """To coordinates of order one, (3, 3)."""
    total = tracks.shape[0] * weights.sum() + FLOOR
    share = weights[None, :, None]
    middle = (tracks * share).sum((0, 1)) / total
    spread = (((tracks - middle[None, None]) ** 2) * share).sum() / total
    scale = jnp.sqrt(2.0 / jnp.maximum(spread, 1e-12))
    zero, one = jnp.zeros_like(scale), jnp.ones_like(scale)
    rows = ([scale, zero, -scale * middle[0]], [zero, scale, -scale * middle[1]])
    return jnp.stack([*map(jnp.stack, rows), jnp.stack([zero, zero, one])])


def _moved(change: Array, tracks: Array) -> Array:
    return tracks * change[0, 0] + change[:2, 2][None, None]
