"""The low-rank loss of masks that are free on the tracks, and its descent.

There are W windows, N tracks with K masks each (a share of every track for each mask),
and E pairs of tracks that are near. In each window the dominant motion is taken out,
and what is left, in units of its noise and as slow functions of time (`keep`), is
stacked below where the points are: x, y, 1, so large that they take the first three
singular values. So beyond `rank` 3 is what no motion of a mask explains that is affine
in the position, however short the window is.

Differs from LRTL (Karazija et al. 2024), whose tracks are as they were followed and
whose rank is 5: of windows of 41 frames. Of five or fifteen frames, most motions are
straight lines in time, and the two values that are free beyond shape hold them all,
whoever they are of; near scenes have more parallax than they can hold. See
experiments/results/motion_seg.md. Beyond the paper are the costs of pairs that are cut
and of masks in use.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from egojax.methods.motion_groups import Graph
from egojax.methods.motion_windows import PADDING, WindowMotion
from egojax.ops.subspace import lowrank_tail, stack_tracks
from egojax.ops.temporal_basis import reduce_tracks
from egojax.types import ArrayLike, typed

SHAPE = 1e5  # Times noise: positions, of a spread of 1, in the matrix.
SHAPE_VALUES = 3  # Singular values that are shape: of x, y and 1.
AT_ONCE = 8  # Windows whose matrices are held together.
FEW = 1e-6  # Of all tracks: with less, the price of a mask is not steep.


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """What masks cost. The tails of one mask for all tracks cost 1."""

    rank: int = 3  # Singular values that are free; the first three are the shape.
    keep: int = 3  # Slow functions of time that a window is reduced to.
    noise: float = 0.5  # Pixels, at least, in any window.
    smooth: float = 1.0  # Of pairs in different masks, if all are.
    price: float = 0.1  # Of the roots of masks' shares, beyond that of a single mask.


class MaskProblem(NamedTuple):
    """What masks are found for; rows of weight 0 are padding."""

    matrix: Float[Array, "W D n"]
    tracks: Int[Array, "W n"]  # Which each column is.
    there: Float[Array, "W n"]  # 1, or 0 for padding.
    unit: Float[Array, " W"]  # The tail of one mask for all.
    pairs: Int[Array, "E 2"]
    alike: Float[Array, " E"]  # In (0, 1], what cutting a pair costs.
    share: Float[Array, " N"]  # Of all tracks, each.


def mask_problem(
    windows: Sequence[WindowMotion],
    graph: Graph,
    num_tracks: int,
    settings: LossSettings,
) -> MaskProblem:
    """The problem of these windows, one or more, of tracks 0..N - 1.

    All is padded, so that few programs compile.

    Raises:
      ValueError: residuals that are not finite.
    """
    if not all(np.isfinite(window.residual).all() for window in windows):
        raise ValueError("windows with residuals that are not finite")
    size = _padded(max(len(window.tracks) for window in windows))
    keep = min(settings.keep, max(len(window.residual) for window in windows))
    rows = [_matrix(window, size, keep, settings.noise) for window in windows]
    matrix = jnp.asarray(np.stack(rows), jnp.float32)
    there = np.stack([_wide(np.ones(len(w.tracks)), size) for w in windows])
    there = jnp.asarray(there, jnp.float32)
    count, edges = _roomy(num_tracks), _roomy(len(graph.pairs))
    share = _wide(np.full(num_tracks, 1 / num_tracks), count)
    return MaskProblem(
        matrix,
        jnp.asarray(np.stack([_wide(window.tracks, size) for window in windows])),
        there,
        _unit(matrix, there, settings.rank),
        jnp.asarray(_wide(graph.pairs.T, edges).T),
        jnp.asarray(_wide(graph.alike, edges), jnp.float32),
        jnp.asarray(share, jnp.float32),
    )


@functools.partial(jax.jit, static_argnames="rank")
def _unit(matrix: Array, there: Array, rank: int) -> Array:
    """The tail of one mask for all, of each window."""

    def one(window: tuple[Array, Array]) -> Array:
        return lowrank_tail(window[0], window[1][None], rank)[0]

    return lax.map(one, (matrix, there), batch_size=AT_ONCE)


def _matrix(window: WindowMotion, size: int, keep: int, noise: float) -> np.ndarray:
    """(3 + 2 keep, size): the shape of a window's points, and their slow motion."""
    level = max(noise, window.noise)
    # Padded first: of one size, so that one program compiles.
    motion = _wide(np.moveaxis(window.residual, 1, 2) / level, size)
    motion = stack_tracks(np.moveaxis(motion, 2, 1))
    slow = np.asarray(reduce_tracks(motion, keep).tracks)
    # A window of fewer frames than others has zeros: they change no value.
    slow = np.pad(slow, ((0, 2 * keep - len(slow)), (0, 0)))
    apart = window.middle - window.middle.mean(0)
    spread = max(float(np.sqrt((apart**2).mean())), 1e-6)
    shape = np.concatenate([apart.T / spread, np.ones((1, len(apart)))])
    return np.concatenate([_wide(SHAPE * shape, size), slow])


def _padded(count: int) -> int:
    return -(-count // PADDING) * PADDING


def _roomy(count: int) -> int:
    """A power of two; these rows cost little."""
    return max(PADDING, 2 ** (count - 1).bit_length())


def _wide(values: np.ndarray, size: int) -> np.ndarray:
    """With zeros at the end of the last axis."""
    pad = [(0, 0)] * (values.ndim - 1) + [(0, size - values.shape[-1])]
    return np.pad(values, pad)


# ---------------------------------------------------------------------------- losses


@functools.partial(jax.jit, static_argnames="rank")
@typed
def mask_tails(
    problem: MaskProblem, masks: Float[Array, "N K"], rank: int
) -> Float[Array, " K"]:
    """The tails of masks, of all windows together; that of one mask for all is 1."""

    def one(window: tuple[Array, Array, Array]) -> Array:
        matrix, tracks, there = window
        return lowrank_tail(matrix, (masks[tracks] * there[:, None]).T, rank)

    given = problem.matrix, problem.tracks, problem.there
    tails = lax.map(one, given, batch_size=AT_ONCE)
    return tails.sum(0) / jnp.maximum(problem.unit.sum(), FEW)


@functools.partial(jax.jit, static_argnames="settings")
@typed
def mask_loss(
    problem: MaskProblem, masks: Float[Array, "N K"], settings: LossSettings
) -> Float[Array, ""]:
    """What masks cost: tails, pairs that are cut, masks in use.

    Args:
      masks: >= 0, those of a track sum to 1. One mask for all costs 1.
    """
    tails = mask_tails(problem, masks, settings.rank)
    return tails.sum() + _control(problem, masks, settings)


def _control(problem: MaskProblem, masks: Array, settings: LossSettings) -> Array:
    one, other = masks[problem.pairs[:, 0]], masks[problem.pairs[:, 1]]
    apart = problem.alike * (1 - (one * other).sum(1))
    cut = apart.sum() / jnp.maximum(problem.alike.sum(), FEW)
    share = (masks * problem.share[:, None]).sum(0)
    return settings.smooth * cut + settings.price * (_root(share).sum() - _root(1.0))


def _root(share: Array | float) -> Array:
    """0 for 0, and never quite so steep as a root there."""
    return jnp.sqrt(share + FEW) - jnp.sqrt(FEW)


@functools.partial(jax.jit, static_argnames="settings")
@typed
def merging_gain(
    problem: MaskProblem, masks: Float[Array, "N K"], settings: LossSettings
) -> Float[Array, "K K"]:
    """By how much the loss falls if two of K hard masks become one.

    Returns:
      The first is the one with the smaller number; the rest is -inf.
    """
    count = masks.shape[1]
    first, second = np.triu_indices(count, 1)
    every = jnp.concatenate([masks, masks[:, first] + masks[:, second]], axis=1)
    tails, both = jnp.split(mask_tails(problem, every, settings.rank), [count])
    gain = jnp.full((count, count), -jnp.inf)
    gain = gain.at[first, second].set(tails[first] + tails[second] - both)
    one, other = masks[problem.pairs[:, 0]], masks[problem.pairs[:, 1]]
    cut = jnp.einsum("e,ea,eb->ab", problem.alike, one, other)
    cut = (cut + cut.T) / jnp.maximum(problem.alike.sum(), FEW)
    share = (masks * problem.share[:, None]).sum(0)
    saved = _root(share)[:, None] + _root(share)[None]
    saved -= _root(share[:, None] + share[None])
    return gain + settings.smooth * cut + settings.price * saved


# --------------------------------------------------------------------------- descent


@functools.partial(jax.jit, static_argnames=("settings", "steps", "batch"))
@typed
def descend(
    problem: MaskProblem,
    logits: Float[Array, "N K"],
    key: PRNGKeyArray,
    settings: LossSettings,
    *,
    steps: int,
    batch: int,
    rate: Float[ArrayLike, ""] | float,
    coldest: Float[ArrayLike, ""] | float,
) -> Float[Array, "N K"]:
    """Logits of masks after so many steps of Adam.

    Args:
      logits: Where to start; the masks are their softmax.
      key: Chooses the windows of each step.
      batch: Windows that a step sees.
      rate: Of Adam.
      coldest: What logits are divided by at the end; 1 at first. Masks so begin soft,
        where the loss has few minima, and end hard.
    """
    count = min(batch, len(problem.matrix))
    tx = optax.adam(jnp.asarray(rate))

    def loss(logits: Array, heat: Array, which: Array) -> Array:
        masks = jax.nn.softmax(logits / heat, -1)
        seen = problem._replace(
            matrix=problem.matrix[which],
            tracks=problem.tracks[which],
            there=problem.there[which],
            unit=problem.unit[which],
        )
        return mask_loss(seen, masks, settings)

    def step(carry: tuple, given: tuple) -> tuple:
        logits, state = carry
        heat, key = given
        which = jax.random.choice(key, len(problem.matrix), (count,), replace=False)
        slope = jax.grad(loss)(logits, heat, which)
        change, state = tx.update(slope, state)
        return (optax.apply_updates(logits, change), state), None

    heats = jnp.asarray(coldest) ** jnp.linspace(0.0, 1.0, steps)
    given = heats, jax.random.split(key, steps)
    return lax.scan(step, (logits, tx.init(logits)), given)[0][0]
