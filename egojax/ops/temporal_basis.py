"""Long trajectories in few functions of time, and what that may hide of their tail."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from egojax.types import ArrayLike, typed


class ReducedTracks(NamedTuple):
    """Trajectories as sums of a few slow functions of time."""

    tracks: Float[Array, "R N"]  # R = 2 keep rows, in place of D.
    lost: Float[Array, " N"]  # Length of what each column has lost, in pixels.


@functools.partial(jax.jit, static_argnames="keep")
@typed
def reduce_tracks(tracks: Float[ArrayLike, "D N"], keep: int) -> ReducedTracks:
    """Trajectories in an orthonormal basis of time, cut off; for long windows.

    A rotation of the rows changes no singular value, and smooth trajectories have
    little in fast functions: the tail of what is kept is at most the tail of all, and
    `tail_excess` at most below it.

    Args:
      tracks: See `stack_tracks`; T = D / 2 frames.
      keep: Functions of time (cosines) for x, and as many for y; at most T count.
    """
    tracks = jnp.asarray(tracks)
    frames, count = len(tracks) // 2, min(keep, len(tracks) // 2)
    wave, time = np.arange(count)[:, None], np.arange(frames)
    basis = np.cos(np.pi / frames * (time + 0.5) * wave) * np.sqrt(2 / frames)
    basis[0] /= np.sqrt(2)
    parts = tracks.reshape(2, frames, -1)
    basis = jnp.asarray(basis, tracks.dtype)
    kept = jnp.einsum("kt,ctn->ckn", basis, parts, precision=lax.Precision.HIGHEST)
    # Not the difference of two lengths: the kept part is a million times the lost one.
    back = jnp.einsum("kt,ckn->ctn", basis, kept, precision=lax.Precision.HIGHEST)
    lost = jnp.sqrt(((parts - back) ** 2).sum((0, 1)))
    return ReducedTracks(kept.reshape(2 * count, -1), lost)


def tail_excess(
    lost: Float[ArrayLike, " N"], masks: Float[ArrayLike, "K N"], num_lost: int
) -> Float[Array, " K"]:
    """How far tails of reduced trajectories are below those of all, at most.

    Args:
      lost: As `reduce_tracks` says.
      masks: Of the tails.
      num_lost: Rows that were dropped, D - R.
    """
    masks, lost = jnp.asarray(masks), jnp.asarray(lost)
    rows = min(num_lost, len(lost))
    return jnp.sqrt(rows * ((masks * lost[None]) ** 2).sum(1))
