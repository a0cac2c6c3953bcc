"""What tells a network, without labels, that its masks are things that move.

Three terms, each a mean over images: the flow of a mask is a quadratic polynomial of
the position; long trajectories of a mask's points are nearly of low rank; a point keeps
its mask over a few frames. Images come in quadruples of frames F, F + g, F + 5,
F + g + 5, which the last term compares in pairs 5 frames apart. There are B images with
K masks each, N points and T frames around each.

Source: Karazija et al. 2024 (LRTL), `losses/`. Differs, unless `published`: the frame's
true position in its window, the size of its image, a point's visibility in its own
sample; no half pixel is lost.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from egojax.ops.flow import flow_loss
from egojax.ops.image import resize_bilinear, sample_masks
from egojax.ops.subspace import lowrank_tail, stack_tracks
from egojax.ops.temporal_basis import reduce_tracks
from egojax.ops.trajectories import mask_difference, places
from egojax.types import ArrayLike, typed

MARGIN = 1e-6  # Masks at points are no nearer to 0 and 1.
FASTEST = 20.0  # Flow, in pixels; what is faster counts as this.
OFFSET = 5  # Frames between the two of a pair.
PAIRS = ((0, 2), (1, 3))  # Of a quadruple.
PUBLISHED_HW = (480, 854)  # Of the frames that all tracks are said to be of.


class MotionImages(NamedTuple):
    """What is known of the motion in B images, quadruple by quadruple."""

    tracks: Float[Array, "B T N 2"]  # Pixels, smoothed; see `trajectories.window`.
    visible: Float[Array, "B T N"]  # 1 = visible, 0 = hidden.
    loc: Float[Array, "B N 2"]  # In the image itself, not smoothed; see `places`.
    own: Int[Array, " B"]  # Where the image is in its window.
    flow: Float[Array, "B h w 2"]  # Pixels of its own grid.
    weights: Float[Array, "B N"] | None = None  # Of points; None = 1.


@dataclasses.dataclass(frozen=True)
class MotionWeights:
    """Weights of the terms.

    That of tracks is for 70,000 points in pixels of 480 x 854: the term is
    proportional to the unit, and nearly to the root of the number of points.
    """

    flow: float = 0.03
    tracks: float = 5e-5
    temporal: float = 0.1  # Times the ramp.


class MotionLoss(NamedTuple):
    """The terms, weighted."""

    total: Float[Array, ""]
    flow: Float[Array, ""]
    tracks: Float[Array, ""]
    temporal: Float[Array, ""]


@jax.jit(static_argnames=("rank", "keep", "weights", "size_hw", "published"))
@typed
def motion_loss(
    masks: Float[Array, "B K H W"],
    images: MotionImages,
    ramp: Float[ArrayLike, ""] | float = 1.0,
    *,
    rank: int = 5,
    keep: int = 0,
    weights: MotionWeights = MotionWeights(),
    size_hw: tuple[int, int] = PUBLISHED_HW,
    published: bool = False,
) -> MotionLoss:
    """The loss that LRTL is trained by.

    Args:
      masks: In [0, 1]; those of an image sum to 1. Of any size.
      images: B is a multiple of four, unless the temporal weight is 0.
      ramp: Of the temporal term; see `temporal_ramp`.
      rank, keep: See `track_loss`.
      weights: A term of weight 0 is not computed.
      size_hw: Of the frames that tracks are in pixels of.
      published: As in the official code, see the top; `own` and `size_hw` do not count.
    """
    none = jnp.zeros((), masks.dtype)
    flow = tracks = temporal = none
    if weights.flow:
        flow = weights.flow * masked_flow_loss(masks, images.flow)
    if weights.tracks:
        tracks = weights.tracks * track_loss(masks, images, rank, keep)
    if weights.temporal:
        gap = temporal_loss(masks, images, size_hw, published=published)
        temporal = weights.temporal * ramp * gap
    return MotionLoss(flow + tracks + temporal, flow, tracks, temporal)


@jax.jit
@typed
def masked_flow_loss(
    masks: Float[Array, "B K H W"], flow: Float[Array, "B h w 2"]
) -> Float[Array, ""]:
    """The mean of `flow_loss`, of masks that are interpolated to the flow's grid."""
    flow = jnp.clip(flow, -FASTEST, FASTEST)
    moved = resize_bilinear(jnp.moveaxis(masks, 1, -1), flow.shape[1:3])
    return jax.vmap(flow_loss)(jnp.moveaxis(moved, -1, 1), flow).mean()


@jax.jit(static_argnames=("rank", "keep"))
@typed
def track_loss(
    masks: Float[Array, "B K H W"], images: MotionImages, rank: int = 5, keep: int = 0
) -> Float[Array, ""]:
    """The mean, over images and masks, of the tail of the points' trajectories.

    Hidden points count with the places that the tracker guesses.

    Args:
      masks, images: See `motion_loss`.
      rank: Of the trajectories of one thing.
      keep: Slow functions of time that trajectories are reduced to, for long windows
        (see `reduce_tracks`); 0 = as they are.
    """

    def one(masks: Array, tracks: Array, loc: Array, weights: Array | None) -> Array:
        at_points = jnp.clip(sample_masks(masks, loc), MARGIN, 1 - MARGIN)
        stacked = stack_tracks(tracks)
        if keep:
            stacked = reduce_tracks(stacked, keep).tracks
        return lowrank_tail(stacked, at_points, rank, weights)

    given = masks, images.tracks, images.loc, images.weights
    return jax.vmap(one)(*given).mean()


@jax.jit(static_argnames=("size_hw", "published"))
@typed
def temporal_loss(
    masks: Float[Array, "B K H W"],
    images: MotionImages,
    size_hw: tuple[int, int] = PUBLISHED_HW,
    *,
    published: bool = False,
) -> Float[Array, ""]:
    """How differently frames 5 apart see the same points, both ways, in quadruples.

    Args:
      masks, images, size_hw: See `motion_loss`.
      published: The image is taken to be in the middle of its window, its frame to have
        480 x 854 pixels with centres at integers, and each sample's differences are
        weighed with all samples' visibilities.

    Raises:
      ValueError: B is not a multiple of four.
    """
    count, length = images.visible.shape[:2]
    if count % 4:
        raise ValueError(f"{count} images; expected quadruples")
    size_hw = PUBLISHED_HW if published else size_hw
    if published:
        images = images._replace(own=jnp.full_like(images.own, length // 2))
    # Quadruple by quadruple: over devices, none is looked for elsewhere.
    masks, images = jax.tree.map(
        lambda x: x.reshape(-1, 4, *x.shape[1:]), (masks, images)
    )
    difference = jax.vmap(mask_difference)
    if published:
        # Differences of a sample are a row, weights of all samples the columns.
        every = jax.vmap(mask_difference, (None, None, None, None, 0))
        difference = jax.vmap(every, (0, 0, 0, 0, None))

    def one_way(start: int, end: int, step: int) -> Array:
        tracks, loc, seen, at = (
            x[:, start] for x in (images.tracks, images.loc, images.visible, images.own)
        )
        far = jnp.clip(at + step, 0, length - 1)
        is_there = (far == at + step).astype(seen.dtype)[:, None]
        rows = jnp.arange(len(tracks))
        weight = seen[rows, at] * seen[rows, far] * is_there
        if images.weights is not None:
            weight = weight * images.weights[:, start]
        later = places(tracks[rows, far], size_hw, published=published)
        return difference(masks[:, start], masks[:, end], loc, later, weight).mean()

    gaps = [
        one_way(start, end, step)
        for a, b in PAIRS
        for start, end, step in ((a, b, OFFSET), (b, a, -OFFSET))
    ]
    return jnp.stack(gaps).sum() / 4


def temporal_ramp(
    step: Int[ArrayLike, ""] | int, *, start: float = 0.001, steps: int = 160_000
) -> Float[Array, ""]:
    """What the temporal weight is multiplied by: from `start` to 1 in so many steps.

    The published run ends after 20,000 of its 160,000, at 0.126.
    """
    share = jnp.clip(jnp.asarray(step, jnp.float32) / steps, 0.0, 1.0)
    return start + (1 - start) * share
